/* Which of the convolutions that could run by Winograd do: those whose second rounding is heard least in the logits for the
 * multiplications that it saves, as long as all together stay far enough below the logits. The noise is by what the logits of
 * calibration images change where layers run by Winograd and not directly. */
#include "base/alloc.h"
#include "op/op.h"
#include "quant/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 256 };
/* In dB. Of 10,000 images of CIFAR-10 resnet20 then says another class of about 20 more than directly: docs/results.md. */
static const double LEAST_SQNR = 30;

typedef struct layer {
  rt_record_node *node;
  int numbers[RT_WINOGRAD_TAPS + 1];
  double noise,
      products; /* of the logits where it alone runs by Winograd, beside all directly; multiplications in it */
  bool taken;
} layer;

typedef struct trial {
  rt_quantizer *q;
  layer *layer;
  int n;
  float *x;                        /* images */
  int64_t images, count;           /* count: of logits */
  float *floating, *direct, *some; /* logits */
} trial;

static rt_status logits_of(const trial *t, rt_network *network, float *out) {
  const rt_network_info *info = &t->q->network->info;
  int64_t image = info->channels * info->height * info->width;
  rt_status s = RT_OK;
  for (int64_t i = 0, n; i < t->images && s == RT_OK; i += n) {
    const float *logits;
    n = t->images - i < t->q->o.batch ? t->images - i : t->q->o.batch;
    s = rt_network_run(network, t->x + i * image, n, &logits);
    if (s == RT_OK) memcpy(out + i * info->classes, logits, (size_t)(n * info->classes) * sizeof *out);
  }
  return s;
}

/* What the network says with the layers that are taken by Winograd. */
static rt_status run(const trial *t, float *out) {
  rt_network *network = NULL;
  for (int i = 0; i < t->n; i++) t->layer[i].node->winograd[0] = t->layer[i].taken ? t->layer[i].numbers[0] : 0;
  rt_status s = rt_quantize_form(t->q, &t->q->record, false, &network);
  if (s == RT_OK) s = logits_of(t, network, out);
  rt_network_free(network);
  return s;
}

static double noise(const trial *t, const float *a, const float *b) {
  double sum = 0;
  for (int64_t i = 0; i < t->count; i++) sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
  return sum;
}

/* What tells classes apart: by how much the logits of an image differ from their mean. */
static double signal(const trial *t) {
  int64_t classes = t->q->network->info.classes;
  double sum = 0;
  for (int64_t i = 0; i < t->count; i += classes) {
    double mean = 0;
    for (int64_t c = 0; c < classes; c++) mean += (double)t->floating[i + c] / (double)classes;
    for (int64_t c = 0; c < classes; c++)
      sum += ((double)t->floating[i + c] - mean) * ((double)t->floating[i + c] - mean);
  }
  return sum;
}

static rt_status prepare(trial *t) {
  rt_network *floating = NULL;
  rt_status s = rt_quantize_images(t->q, IMAGES < t->q->o.images ? IMAGES : t->q->o.images, &t->x, &t->images);
  t->count = t->images * t->q->network->info.classes;
  if (s == RT_OK) t->floating = rt_alloc_array(3 * (size_t)t->count, sizeof *t->floating);
  if (s == RT_OK && !t->floating) s = RT_E_MEMORY;
  if (s != RT_OK) return s;
  t->direct = t->floating + t->count;
  t->some = t->direct + t->count;
  s = rt_quantize_float(t->q, false, &floating);
  if (s == RT_OK) s = logits_of(t, floating, t->floating);
  rt_network_free(floating);
  return s == RT_OK ? run(t, t->direct) : s;
}

static int by_price(const void *a, const void *b) {
  const layer *p = a, *q = b;
  double x = p->noise * q->products, y = q->noise * p->products;
  return x < y ? -1 : x > y;
}

static rt_status listen_to_each(trial *t) {
  rt_status s = RT_OK;
  for (int i = 0; i < t->n && s == RT_OK; i++) {
    t->layer[i].taken = true;
    s = run(t, t->some);
    t->layer[i].taken = false;
    t->layer[i].noise = noise(t, t->some, t->direct);
  }
  qsort(t->layer, (size_t)t->n, sizeof *t->layer, by_price);
  return s;
}

/* ---- the choice ---- */

static void take(trial *t, int n) {
  for (int i = 0; i < t->n; i++) t->layer[i].taken = i < n;
}

/* As many of the cheapest as stay below `most` together: their noise grows with their number. */
static rt_status choose(trial *t, double most) {
  int least = 0, highest = t->n;
  rt_status s = listen_to_each(t);
  while (s == RT_OK && least < highest) {
    int middle = (least + highest + 1) / 2;
    take(t, middle);
    s = run(t, t->some);
    if (s == RT_OK && noise(t, t->some, t->direct) <= most)
      least = middle;
    else
      highest = middle - 1;
  }
  take(t, least);
  for (int i = 0; i < t->n; i++) t->layer[i].node->winograd[0] = t->layer[i].taken ? t->layer[i].numbers[0] : 0;
  return s;
}

/* Into the record: why. */
static rt_status explain(trial *t, double power) {
  rt_status s = RT_OK;
  for (int i = 0; i < t->n; i++) {
    const layer *l = &t->layer[i];
    l->node->winograd_why = rt_arena_text(
        &t->q->record.arena, "%s is %.1f dB below the logits%s",
        l->taken ? "by Winograd: its second rounding" : "directly: what Winograd would round a second time",
        10 * log10(fmax(power, 1e-30) / fmax(l->noise, 1e-30)), l->taken ? "" : ", too much with the others");
    if (!l->node->winograd_why) s = RT_E_MEMORY;
  }
  return s;
}

rt_status rt_quantize_choose_winograd(rt_quantizer *q, rt_record_node *const *node, const double *products, int n) {
  trial t = {.q = q, .n = n, .layer = rt_alloc_array((size_t)n, sizeof *t.layer)};
  for (int i = 0; t.layer && i < n; i++) {
    t.layer[i] = (layer){.node = node[i], .products = products[i]};
    memcpy(t.layer[i].numbers, node[i]->winograd, sizeof t.layer[i].numbers);
  }
  rt_status s = t.layer ? prepare(&t) : RT_E_MEMORY;
  double power = s == RT_OK ? signal(&t) : 0, most = power * pow(10, -LEAST_SQNR / 10);
  if (s == RT_OK) s = choose(&t, most);
  if (s == RT_OK) s = explain(&t, power);
  rt_free(t.layer);
  rt_free(t.x);
  rt_free(t.floating);
  return s;
}
