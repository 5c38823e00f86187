/* Which convolutions run by Winograd in int8, and on which grids: images pass through the int8 network, the transformed
 * inputs of every candidate are counted, and each tap gets the multiplier with the least expected squared error. */
#include "base/alloc.h"
#include "kernel/kernel.h"
#include "pass/pass.h"
#include "plan/plan.h"
#include "quant/quant.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* Measured on Zen 4, channels-last, 1 and 64 images (docs/performance.md): from 32 channels on own_winograd_int8 takes less
 * time than oneDNN's direct kernel. Without VNNI products aren't fast; on AMX nothing was measured. */
enum { LEAST_CHANNELS = 32, IMAGES = 64 };
/* Rounding transformed inputs may cost this much against them, in dB; direct inputs are rounded too, at about 40. */
static const double LEAST_SQNR = 25;

enum { TAPS = RT_WINOGRAD_TAPS, SUM = RT_WINOGRAD_SUM, MOST = 1020, BINS = 2 * MOST + 1 };

typedef struct candidate {
  rt_record_node *node;
  const rt_conv2d_int8_attr *attr; /* in the int8 graph */
  int64_t (*count)[BINS];          /* by tap: of the transformed input -MOST … MOST */
  double filters, products;        /* filters: their channels, too; multiplications of an image, over 9 */
} candidate;

static bool is_candidate(const rt_quantizer *q, const rt_record_node *n, const rt_node *node) {
  rt_isa isa = rt_cpu_get()->isa;
  if (n->form != RT_FORM_INT8 || isa < RT_ISA_AVX512_VNNI || isa >= RT_ISA_AMX) return false;
  if (rt_target_activations(q->record.target).high < 255 || !rt_int8_winograd_applies(node)) return false;
  return node->in[1]->type.dim[0] >= LEAST_CHANNELS && node->in[1]->type.dim[1] >= LEAST_CHANNELS;
}

/* ---- what comes in ---- */

/* A channel of an image, h×w levels. */
static void count_plane(const candidate *c, const uint8_t *x, int64_t h, int64_t w) {
  const int64_t *padding = c->attr->conv.padding;
  for (int64_t row = -padding[0]; row + 2 < h + padding[0]; row += 2)
    for (int64_t column = -padding[1]; column + 2 < w + padding[1]; column += 2) {
      int32_t d[TAPS], v[TAPS];
      for (int i = 0; i < TAPS; i++) {
        int64_t p = row + i / 4, s = column + i % 4;
        d[i] = p >= 0 && p < h && s >= 0 && s < w ? x[p * w + s] : 0;
      }
      rt_winograd_int8_tile(d, v);
      for (int i = 0; i < TAPS; i++) c->count[i][v[i] + MOST]++;
    }
}

static rt_status count_all(candidate *all, int n, const rt_plan *plan) {
  for (int i = 0; i < n; i++) {
    char name[32];
    rt_result r;
    snprintf(name, sizeof name, "winograd.%d", i);
    rt_status s = rt_plan_result(plan, name, &r);
    if (s != RT_OK) return s;
    int64_t h = r.dim[2], w = r.dim[3];
    all[i].products = (double)(h * w) * all[i].filters;
    for (int64_t p = 0; p < r.dim[0] * r.dim[1]; p++) count_plane(&all[i], (const uint8_t *)r.data + p * h * w, h, w);
  }
  return RT_OK;
}

static rt_status run_images(const rt_quantizer *q, candidate *all, int n, rt_plan *plan) {
  const rt_network_info *i = &q->network->info;
  float *x = NULL;
  int64_t got = 0, image = i->channels * i->height * i->width, batch = q->o.batch < 16 ? q->o.batch : 16;
  rt_status s = rt_quantize_images(q, q->o.images < IMAGES ? q->o.images : IMAGES, &x, &got);
  for (int64_t first = 0; first < got && s == RT_OK; first += batch) {
    int64_t dim[] = {got - first < batch ? got - first : batch, i->channels, i->height, i->width};
    rt_feed feed = {.name = "x", .rank = 4, .dim = dim, .data = x + first * image};
    s = rt_plan_run(plan, &feed, 1);
    if (s == RT_OK) s = count_all(all, n, plan);
  }
  rt_free(x);
  return s;
}

/* ---- grids ---- */

/* Σ (level's value − v)² over what was counted, and with `power` Σ v². */
static double squared_error(const int64_t *count, int multiplier, int centre, double *power) {
  double error = 0, square = 0;
  for (int v = -MOST; v <= MOST; v++) {
    if (!count[v + MOST]) continue;
    int level = ((v - centre) * multiplier + (1 << 14)) >> 15;
    level = level < -128 ? -128 : level > 127 ? 127 : level;
    double off = level * 32768.0 / multiplier + centre - v;
    error += (double)count[v + MOST] * off * off;
    square += (double)count[v + MOST] * v * v;
  }
  if (power) *power += square;
  return error;
}

/* Levels reach from the centre to `reach` on both sides; the sum of four pixels begins at its least value. */
static double choose_tap(const int64_t *count, int tap, int *multiplier, int *centre) {
  int least = 0;
  while (least < BINS - 1 && !count[least]) least++;
  least = tap == SUM && least > MOST ? least - MOST : 0;
  double best = INFINITY;
  for (int reach = 64; reach <= MOST; reach += reach < 256 ? 8 : 16) {
    int m = 127 * 32768 / reach, c = tap == SUM ? least + reach : 0;
    if (m > 32767) m = 32767;
    if (c > MOST) break;
    double error = squared_error(count, m, c, NULL);
    if (error >= best) continue;
    best = error;
    *multiplier = m;
    if (tap == SUM) *centre = c;
  }
  return best;
}

/* Both the error and the power are those of the whole transformed input. */
static void choose_grids(const candidate *c) {
  double error = 0, power = 0;
  int *numbers = c->node->winograd;
  for (int t = 0; t < TAPS; t++) {
    error += choose_tap(c->count[t], t, &numbers[t], &numbers[TAPS]);
    squared_error(c->count[t], 1, 0, &power);
  }
  if (!(10 * log10(power / fmax(error, 1e-9)) >= LEAST_SQNR)) numbers[0] = 0;
}

/* ---- all of it ---- */

static rt_status mark(rt_graph *g, candidate *c, int number) {
  const rt_node *node = rt_quantize_node(g, c->node->node, RT_OP(conv2d_int8));
  char name[32];
  if (!node) return rt_fail(RT_E_INTERNAL, "quantize: %s isn't in the int8 network", c->node->node);
  snprintf(name, sizeof name, "winograd.%d", number);
  c->attr = node->attr;
  c->filters = (double)(node->in[1]->type.dim[0] * node->in[1]->type.dim[1]);
  c->count = rt_alloc_array(TAPS, sizeof *c->count);
  rt_mark_output(g, name, node->in[0]);
  return c->count ? rt_graph_status(g) : RT_E_MEMORY;
}

static rt_status calibrate(rt_quantizer *q, candidate *all, int n) {
  rt_store *store = NULL;
  rt_graph *graph = NULL, *laid = NULL;
  rt_plan *plan = NULL;
  rt_rewrite rw;
  rt_status s = rt_record_build(&q->record, q->folded, &store, &graph);
  for (int i = 0; i < n && s == RT_OK; i++) s = mark(graph, &all[i], i);
  if (s == RT_OK) s = rt_rewrite_begin(&rw, graph); /* the layout pass changes a graph; its attributes are read here */
  if (s == RT_OK) {
    for (int i = 0; i < graph->n_nodes; i++) rt_rewrite_node(&rw, graph->node[i]);
    s = rt_rewrite_end(&rw, &laid);
  }
  if (s == RT_OK) s = rt_pass_layout(&laid);
  if (s == RT_OK) s = rt_plan_new(laid, NULL, &plan);
  if (s == RT_OK) s = run_images(q, all, n, plan);
  for (int i = 0; i < n && s == RT_OK; i++) choose_grids(&all[i]);
  rt_plan_free(plan);
  rt_graph_free(laid);
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}

/* Those with grids that are fine enough. */
static rt_status choose(rt_quantizer *q, const candidate *all, int n, int *runs) {
  rt_record_node **node = rt_alloc_array((size_t)n + 1, sizeof(rt_record_node *));
  double *products = rt_alloc_array((size_t)n + 1, sizeof *products);
  int fine = 0;
  for (int i = 0; node && products && i < n; i++) {
    if (!*all[i].node->winograd) continue;
    node[fine] = all[i].node;
    products[fine++] = all[i].products;
  }
  rt_status s = node && products ? RT_OK : RT_E_MEMORY;
  if (s == RT_OK && fine) s = rt_quantize_choose_winograd(q, node, products, fine);
  for (int i = 0; s == RT_OK && i < fine; i++) *runs += *node[i]->winograd > 0;
  rt_free(node);
  rt_free(products);
  return s;
}

rt_status rt_quantize_winograd(rt_quantizer *q) {
  candidate *all = rt_alloc_array((size_t)q->record.n + 1, sizeof *all);
  int n = 0, runs = 0;
  if (!all) return RT_E_MEMORY;
  for (int i = 0; i < q->record.n; i++) {
    rt_record_node *node = &q->record.node[i];
    const rt_node *folded = rt_quantize_node(q->folded, node->node, RT_OP(conv2d));
    if (folded && is_candidate(q, node, folded)) all[n++].node = node;
  }
  rt_status s = n ? calibrate(q, all, n) : RT_OK;
  if (s == RT_OK && n) s = choose(q, all, n, &runs);
  for (int i = 0; i < n; i++) rt_free(all[i].count);
  rt_free(all);
  if (s == RT_OK && n) rt_quantize_tell(q, "%d of %d 3×3 convolutions by Winograd in int8", runs, n);
  return s;
}
