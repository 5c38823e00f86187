#include "base/strbuf.h"
#include "data/data.h"
#include "graph/graph.h"
#include "train/network.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

rt_status rt_network_run_once(rt_network *network, const float *x, int64_t n, const float **logits) {
  const rt_network_info *i = &network->info;
  int64_t dim[] = {n, i->channels, i->height, i->width};
  rt_feed feed = {.name = "x", .rank = network->rank, .dim = dim, .data = x};
  rt_result result;
  rt_status s = rt_plan_run(network->plan, &feed, 1);
  if (s == RT_OK) s = rt_plan_result(network->plan, "logits", &result);
  if (s == RT_OK) *logits = result.data;
  return s;
}

rt_status rt_network_run(rt_network *network, const float *x, int64_t n, const float **logits) {
  return (network->tta ? rt_views_run : rt_network_run_once)(network, x, n, logits);
}

static rt_status check_data(const rt_network_info *n, const rt_data_info *d, rt_split split) {
  static const char *const part[] = {"training", "validation", "test"};
  if (n->channels != d->channels || n->height != d->height || n->width != d->width)
    return rt_fail(RT_E_SHAPE,
                   "the network takes images of %" PRId64 "x%" PRId64 "x%" PRId64 ", and those of %s are %" PRId64
                   "x%" PRId64 "x%" PRId64,
                   n->channels, n->height, n->width, d->kind, d->channels, d->height, d->width);
  if (n->classes != d->classes)
    return rt_fail(RT_E_SHAPE, "the network tells %" PRId64 " classes apart, and %s has %" PRId64, n->classes, d->kind,
                   d->classes);
  if (!d->count[split]) return rt_fail(RT_E_ARGUMENT, "%s has no %s images", d->kind, part[split]);
  return RT_OK;
}

void rt_add_numbers(rt_strbuf *text, const float *v, int64_t n) {
  for (int64_t c = 0; c < n; c++) rt_strbuf_add(text, "%s%.9g", c ? "," : "", (double)v[c]);
}

static rt_status new_loader(const rt_network_info *n, const rt_data *data, rt_split split, const char *options,
                            rt_loader **out) {
  rt_strbuf text = {0};
  rt_strbuf_add(&text, "%s", options);
  if (n->mean) {
    rt_strbuf_add(&text, " mean=");
    rt_add_numbers(&text, n->mean, n->channels);
    rt_strbuf_add(&text, " std=");
    rt_add_numbers(&text, n->deviation, n->channels);
  }
  rt_status s = text.failed ? RT_E_MEMORY : rt_loader_new(data, split, text.text, NULL, out);
  rt_strbuf_release(&text);
  return s;
}

rt_status rt_network_loader(const rt_network *n, const rt_data *data, rt_split split, const char *options,
                            rt_loader **out) {
  rt_data_info d;
  rt_data_describe(data, &d);
  rt_status s = check_data(&n->info, &d, split);
  return s == RT_OK ? new_loader(&n->info, data, split, options, out) : s;
}

rt_status rt_network_batches(const rt_network *n, const rt_data *data, rt_split split, int64_t batch, rt_loader **out) {
  char options[32];
  snprintf(options, sizeof options, "batch=%" PRId64, batch);
  return rt_network_loader(n, data, split, options, out);
}

rt_status rt_evaluate(rt_network *n, const rt_data *data, rt_split split, int64_t batch, rt_metrics *metrics) {
  rt_loader *loader = NULL;
  rt_batch b = {0};
  const float *logits;
  rt_status s = rt_network_batches(n, data, split, batch, &loader);
  while (s == RT_OK && !b.last) {
    s = rt_loader_next(loader, &b);
    if (s == RT_OK) s = rt_network_run(n, b.x, b.n, &logits);
    if (s == RT_OK) s = rt_metrics_add(metrics, logits, b.label, b.n);
  }
  rt_loader_free(loader);
  return s;
}

/* ---- what an int8 file expects of itself ---- */

static int64_t class_of(const float *z, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++)
    if (z[i] > z[best]) best = i;
  return best;
}

static void compare_logits(const float *found, const float *expected, int64_t images, int64_t classes,
                           rt_verification *out) {
  double square = 0;
  *out = (rt_verification){.images = images, .exact = true};
  for (int64_t i = 0; i < images * classes; i++) {
    double d = fabs((double)found[i] - (double)expected[i]);
    if (!(d <= out->worst)) out->worst = d;
    square += (double)expected[i] * (double)expected[i];
    out->exact = out->exact && d == 0;
  }
  for (int64_t i = 0; i < images; i++)
    out->classes_right += class_of(found + i * classes, classes) == class_of(expected + i * classes, classes);
  out->typical = sqrt(square / (double)(images * classes));
}

rt_status rt_network_verify(rt_network *n, rt_verification *out) {
  const rt_var *images = rt_store_find(n->store, RT_VECTOR_IMAGES), *logits = rt_store_find(n->store, RT_VECTOR_LOGITS);
  const rt_network_info *i = &n->info;
  const float *found;
  if (!images || !logits)
    return rt_fail(
        RT_E_ARGUMENT,
        "it carries no images with the logits expected: files of quantize do, and .onnx files that were trained");
  int64_t count = images->type.rank ? images->type.dim[0] : 0;
  const rt_dim image[] = {count, i->channels, i->height, i->width}, logit[] = {count, i->classes};
  rt_type types[] = {rt_type_of(RT_F32, 4, image), rt_type_of(RT_F32, 2, logit)};
  if (count < 1 || !rt_same_shape(&images->type, &types[0]) || !rt_same_shape(&logits->type, &types[1]) ||
      images->type.dtype != RT_F32 || logits->type.dtype != RT_F32)
    return rt_fail(RT_E_FORMAT, "%s and %s don't have the shapes of its network's images and logits", RT_VECTOR_IMAGES,
                   RT_VECTOR_LOGITS);
  rt_status s = rt_network_run(n, images->data, count, &found);
  if (s == RT_OK) compare_logits(found, logits->data, count, i->classes, out);
  return s;
}
