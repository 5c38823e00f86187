/* Test-time augmentation: the logits of several views of an image, weighted. */
#include "base/alloc.h"
#include "data/data.h"
#include "train/network.h"

#include <string.h>

typedef struct view {
  int64_t shift; /* of the image, down and right; what comes in is mirrored */
  bool flip;
  float weight;
} view;

static const view flip[] = {{0, false, 0.5f}, {0, true, 0.5f}, {0}};
static const view flip_translate[] = {{0, false, 0.25f},
                                      {0, true, 0.25f},
                                      {-1, false, 0.125f},
                                      {-1, true, 0.125f},
                                      {1, false, 0.125f},
                                      {1, true, 0.125f},
                                      {0}};
static const view *const views[] = {[RT_TTA_FLIP] = flip, [RT_TTA_FLIP_TRANSLATE] = flip_translate};

rt_status rt_views_check(rt_tta tta, int64_t height, int64_t width) {
  if (tta != RT_TTA_FLIP_TRANSLATE || (height > 1 && width > 1)) return RT_OK;
  return rt_fail(RT_E_ARGUMENT, "tta=flip+translate: images of %lldx%lld can't be moved", (long long)height,
                 (long long)width);
}

/* Memory for a view of n images and for their logits. */
static rt_status reserve(rt_network *network, int64_t n) {
  const rt_network_info *i = &network->info;
  if (n <= network->reserved) return RT_OK;
  rt_free(network->view);
  network->view = rt_alloc_array((size_t)n, (size_t)(i->channels * i->height * i->width + i->classes) * sizeof(float));
  network->reserved = network->view ? n : 0;
  return network->view ? RT_OK : RT_E_MEMORY;
}

rt_status rt_views_run(rt_network *network, const float *x, int64_t n, const float **logits) {
  const rt_network_info *i = &network->info;
  int64_t pixels = n * i->channels * i->height * i->width, outputs = n * i->classes;
  rt_status s = reserve(network, n);
  if (s != RT_OK) return s;
  float *sum = network->view + pixels;
  memset(sum, 0, (size_t)outputs * sizeof *sum);
  for (const view *v = views[network->tta]; v->weight > 0 && s == RT_OK; v++) {
    const float *one, *seen = v->shift || v->flip ? network->view : x;
    if (seen != x) rt_data_move(x, n * i->channels, i->height, i->width, -v->shift, -v->shift, v->flip, network->view);
    s = rt_network_run_once(network, seen, n, &one);
    for (int64_t k = 0; s == RT_OK && k < outputs; k++) sum[k] += v->weight * one[k];
  }
  *logits = sum;
  return s;
}
