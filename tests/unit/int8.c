/* Lowering to int8: a small network of everything that has an int8 form, against the float network it comes from. */
#include "pass/int8.h"

#include "base/alloc.h"
#include "cases.h"
#include "pass/pass.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

enum { BATCH = 3, SIDE = 12, IMAGE = 3 * SIDE * SIDE, ROWS = 64 };

typedef struct network {
  rt_store *store;
  rt_graph *graph;
  float x[BATCH * IMAGE];
  rt_int8_node row[ROWS];
  rt_int8_table table;
} network;

static void begin(network *n) {
  *n = (network){0};
  OK(rt_store_new(&n->store));
  OK(rt_graph_new(n->store, &n->graph));
  for (int i = 0; i < BATCH * IMAGE; i++) n->x[i] = (float)(sin(0.7 * i) + 0.4 * cos(0.013 * i));
}

static void end(network *n) {
  rt_graph_free(n->graph);
  rt_store_free(n->store);
}

static rt_value *input(network *n) {
  rt_dim dim[] = {rt_symbol(n->graph, "batch"), 3, SIDE, SIDE};
  return rt_input(n->graph, "x", RT_F32, 4, dim);
}

static void finish(network *n, rt_value *y) {
  rt_mark_output(n->graph, "y", y);
  OK(rt_graph_status(n->graph));
  OK(rt_pass_fuse(&n->graph, NULL));
  OK(rt_store_init(n->store, 5));
}

static double *values(const network *n, rt_graph *graph, const char *output, rt_plan **plan, int64_t *count) {
  const int64_t dim[] = {BATCH, 3, SIDE, SIDE};
  rt_feed feed = {"x", 4, dim, n->x};
  rt_result r;
  OK(rt_plan_new(graph, NULL, plan));
  OK(rt_plan_run(*plan, &feed, 1));
  OK(rt_plan_result(*plan, output, &r));
  return test_values(&r, count);
}

static void add_row(network *n, const char *name, const double *v, int64_t count) {
  rt_int8_node *row = &n->row[n->table.n++];
  double low = 0, high = 0;
  assert_true(n->table.n < ROWS);
  for (int64_t i = 0; i < count; i++) {
    low = fmin(low, v[i]);
    high = fmax(high, v[i]);
  }
  double scale = fmax((high - low) / (double)n->table.high, 1e-7);
  *row = (rt_int8_node){.node = name, .int8 = true, .scale = scale, .zero_point = (int)rint(-low / scale)};
}

/* A row for the input and for every node, with the range of what it makes of the images. */
static void calibrate(network *n, int high) {
  rt_graph *g = n->graph;
  rt_plan *plan;
  int64_t count;
  double x[BATCH * IMAGE];
  int outputs = g->n_outputs;
  n->table = (rt_int8_table){.node = n->row, .high = high};
  for (int i = 0; i < BATCH * IMAGE; i++) x[i] = (double)n->x[i];
  add_row(n, "x", x, BATCH * IMAGE);
  for (int i = 0; i < g->n_nodes; i++) rt_mark_output(g, g->node[i]->name, g->node[i]->out[0]);
  rt_free(values(n, g, "y", &plan, &count));
  for (int i = 0; i < g->n_nodes; i++) {
    rt_result r;
    OK(rt_plan_result(plan, g->node[i]->name, &r));
    double *v = test_values(&r, &count);
    add_row(n, g->node[i]->name, v, count);
    rt_free(v);
  }
  rt_plan_free(plan);
  g->n_outputs = outputs;
}

/* NODE.weight, NODE.weight_scale and NODE.bias of the int8 store from the float one. */
static void quantize_weights(const network *n, rt_store *to) {
  for (int i = 0; i < to->n; i++) {
    char scale_name[80];
    const rt_var *q = to->var[i], *w = rt_store_find(n->store, q->name);
    if (q->type.dtype == RT_F32 && w) OK(rt_store_set(to, q->name, w->data, (size_t)rt_type_bytes(&w->type)));
    if (q->type.dtype != RT_S8) continue;

    snprintf(scale_name, sizeof scale_name, "%s_scale", q->name);
    int64_t filters = w->type.dim[0], size = rt_type_elements(&w->type) / filters;
    const float *from = w->data;
    int8_t *levels = rt_alloc((size_t)(filters * size));
    float scale[256];
    assert_true(levels && filters <= 256);
    for (int64_t o = 0; o < filters; o++) {
      float most = 0;
      for (int64_t k = 0; k < size; k++) most = fmaxf(most, fabsf(from[o * size + k]));
      scale[o] = most / 127;
      for (int64_t k = 0; k < size; k++) levels[o * size + k] = (int8_t)rintf(from[o * size + k] * (1 / scale[o]));
    }
    OK(rt_store_set(to, q->name, levels, (size_t)(filters * size)));
    OK(rt_store_set(to, scale_name, scale, (size_t)filters * sizeof *scale));
    rt_free(levels);
  }
}

static int count_nodes(const rt_graph *g, const rt_op *op) {
  int n = 0;
  for (int i = 0; i < g->n_nodes; i++) n += g->node[i]->op == op;
  return n;
}

typedef struct expected {
  double distance; /* of the result to the float network's, relative */
  int quantized, dequantized, products;
} expected;

static double distance(const double *a, const double *b, int64_t count) {
  double square = 0, off = 0;
  for (int64_t i = 0; i < count; i++) {
    square += a[i] * a[i];
    off += (a[i] - b[i]) * (a[i] - b[i]);
  }
  return sqrt(off / square);
}

static void check(network *n, int high, expected e) {
  rt_store *store;
  rt_graph *graph, *fake;
  rt_plan *plan;
  int64_t count;
  calibrate(n, high);
  OK(rt_store_new(&store));
  OK(rt_lower_int8(n->graph, &n->table, store, &graph));
  OK(rt_store_init(store, 1));
  quantize_weights(n, store);
  assert_int_equal(count_nodes(graph, RT_OP(quantize)), e.quantized);
  assert_int_equal(count_nodes(graph, RT_OP(dequantize)), e.dequantized);
  assert_int_equal(count_nodes(graph, RT_OP(conv2d_int8)) + count_nodes(graph, RT_OP(linear_int8)), e.products);
  double *y = values(n, n->graph, "y", &plan, &count);
  rt_plan_free(plan);
  OK(rt_int8_twin(n->graph, &n->table, &fake));
  double *twin = values(n, fake, "y", &plan, &count);
  rt_plan_free(plan);
  for (int layout = 0; layout < 2; layout++) {
    if (layout) OK(rt_pass_layout(&graph));
    double *q = values(n, graph, "y", &plan, &count);
    double off = distance(y, q, count), off_twin = distance(twin, q, count);
    rt_free(q);
    rt_plan_free(plan);
    if (!(off < e.distance && off > 1e-4)) fail_msg("highest level %d: %.3g off", high, off);
    if (!(off_twin < 1e-6)) fail_msg("highest level %d: %.3g off the twin in float", high, off_twin);
  }
  rt_free(twin);
  rt_free(y);
  rt_graph_free(fake);
  rt_graph_free(graph);
  rt_store_free(store);
}

/* A block with a shortcut, a strided layer, a linear layer: one quantize at the entrance, f32 at the end. */
static void a_residual_network(void **state) {
  network n;
  begin(&n);
  rt_value *a = rt_relu(n.graph, rt_conv2d(n.graph, "a", input(&n), 16, 3, true, "padding=1"));
  rt_value *b = rt_relu(n.graph, rt_conv2d(n.graph, "b", a, 16, 3, true, "padding=1"));
  b = rt_conv2d(n.graph, "c", b, 16, 3, true, "padding=1");
  b = rt_relu(n.graph, rt_add(n.graph, b, a));
  b = rt_relu(n.graph, rt_conv2d(n.graph, "d", b, 32, 3, true, "stride=2"));
  b = rt_apply(n.graph, "flatten", "flat", &b, 1, NULL);
  finish(&n, rt_linear(n.graph, "fc", b, 10, true));
  check(&n, 255, (expected){0.02, 1, 0, 5});
  check(&n, 127, (expected){0.04, 1, 0, 5});
  end(&n);
}

/* Grids with a zero point, groups, a shortcut that isn't followed by an activation, relu6. */
static void grids_with_a_zero_point(void **state) {
  network n;
  begin(&n);
  rt_value *a = rt_conv2d(n.graph, "a", input(&n), 16, 3, true, "padding=1");
  rt_value *b = rt_conv2d(n.graph, "b", a, 32, 1, true, NULL);
  b = rt_apply(n.graph, "relu6", "act", &b, 1, NULL);
  b = rt_conv2d(n.graph, "c", b, 32, 3, true, "padding=1 groups=32");
  b = rt_conv2d(n.graph, "d", b, 16, 1, true, NULL);
  b = rt_add(n.graph, b, a);
  finish(&n, rt_conv2d(n.graph, "e", b, 8, 3, true, "padding=1 stride=2"));
  check(&n, 255, (expected){0.02, 1, 0, 5});
  check(&n, 127, (expected){0.05, 1, 0, 5});
  end(&n);
}

/* Pools, slices and frames of zeros leave a quantized tensor one: a shortcut without weights (He et al.'s option A). */
static void moved_elements(void **state) {
  network n;
  begin(&n);
  rt_value *a = rt_relu(n.graph, rt_conv2d(n.graph, "a", input(&n), 16, 3, true, "padding=1"));
  a = rt_apply(n.graph, "max_pool2d", "pool", &a, 1, "kernel=3 stride=2 padding=1");
  rt_value *b = rt_relu(n.graph, rt_conv2d(n.graph, "b", a, 24, 3, true, "padding=1 stride=2"));
  b = rt_conv2d(n.graph, "c", b, 24, 3, true, "padding=1");
  rt_value *s = rt_apply(n.graph, "slice", "rows", &a, 1, "axis=2 step=2");
  s = rt_apply(n.graph, "slice", "columns", &s, 1, "axis=3 step=2");
  s = rt_apply(n.graph, "pad", "frame", &s, 1, "pads=0,0,4,4,0,0,0,0");
  b = rt_relu(n.graph, rt_add(n.graph, b, s));
  finish(&n, rt_conv2d(n.graph, "d", b, 8, 3, true, NULL));
  check(&n, 255, (expected){0.02, 1, 0, 4});
  check(&n, 127, (expected){0.04, 1, 0, 4});
  end(&n);
}

/* Means, sums that no convolution takes in and joins go from grids to grids: all between the entrance and the end is levels. */
static void levels_between_products(void **state) {
  network n;
  begin(&n);
  rt_value *a = rt_relu(n.graph, rt_conv2d(n.graph, "a", input(&n), 16, 3, true, "padding=1"));
  rt_value *join[] = {rt_relu(n.graph, rt_conv2d(n.graph, "b", a, 16, 3, true, "padding=1")),
                      rt_conv2d(n.graph, "c", a, 24, 1, true, NULL), a};
  rt_value *j = rt_apply(n.graph, "concat", "join", join, 3, "axis=1");
  rt_value *mean = rt_apply(n.graph, "avg_pool2d", "mean", &j, 1, "kernel=3 stride=2 padding=1");
  rt_value *most = rt_apply(n.graph, "max_pool2d", "most", &j, 1, "kernel=3 stride=2 padding=1");
  rt_value *d = rt_conv2d(n.graph, "d", rt_add(n.graph, mean, most), 32, 1, true, NULL);
  d = rt_apply(n.graph, "relu6", "act", &d, 1, NULL);
  d = rt_apply(n.graph, "adaptive_avg_pool2d", "global", &d, 1, NULL);
  d = rt_apply(n.graph, "flatten", "flat", &d, 1, NULL);
  finish(&n, rt_linear(n.graph, "fc", d, 10, true));
  check(&n, 255, (expected){0.02, 1, 0, 5});
  check(&n, 127, (expected){0.04, 1, 0, 5});
  end(&n);
}

/* What has no product on one side stays floating, as it would only be rounded. */
static void nothing_to_gain(void **state) {
  network n;
  begin(&n);
  rt_value *x = input(&n);
  rt_value *a = rt_conv2d(n.graph, "a", rt_apply(n.graph, "avg_pool2d", "first", &x, 1, "kernel=2"), 8, 1, true, NULL);
  finish(&n, rt_apply(n.graph, "adaptive_avg_pool2d", "last", &a, 1, NULL));
  check(&n, 255, (expected){0.02, 1, 0, 1});
  end(&n);
}

/* 3×3 convolutions of stride 1 by Winograd, where the table brings grids for it: as near the float network as directly, but for
 * the rounding of what is transformed. */
static void by_winograd(void **state) {
  int numbers[RT_WINOGRAD_NUMBERS];
  network n;
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  int64_t count;
  begin(&n);
  rt_value *a = rt_conv2d(n.graph, "a", input(&n), 16, 3, true, "padding=1");
  rt_value *b = rt_relu(n.graph, rt_conv2d(n.graph, "b", a, 16, 3, true, "padding=1"));
  b = rt_relu(n.graph, rt_add(n.graph, rt_conv2d(n.graph, "c", b, 16, 3, true, "padding=1"), a));
  b = rt_conv2d(n.graph, "d", b, 8, 3, true, "padding=1 stride=2");
  finish(&n, rt_conv2d(n.graph, "e", b, 8, 3, true, NULL));
  calibrate(&n, 255);
  for (int i = 0; i < RT_WINOGRAD_NUMBERS; i++) numbers[i] = i < RT_WINOGRAD_TAPS ? 32768 / 4 : 510;
  for (int i = 0; i < n.table.n; i++) n.row[i].winograd = numbers;
  for (int i = 0; i < n.graph->n_nodes; i++)
    if (n.graph->node[i]->op == RT_OP(conv2d))
      assert_int_equal(rt_int8_winograd_applies(n.graph->node[i]), strcmp(n.graph->node[i]->name, "d") != 0);
  OK(rt_store_new(&store));
  OK(rt_lower_int8(n.graph, &n.table, store, &graph));
  OK(rt_store_init(store, 1));
  quantize_weights(&n, store);
  assert_int_equal(count_nodes(graph, RT_OP(conv2d_winograd_int8)), 4);
  assert_int_equal(count_nodes(graph, RT_OP(conv2d_int8)), 1);
  OK(rt_pass_layout(&graph));
  double *y = values(&n, n.graph, "y", &plan, &count);
  rt_plan_free(plan);
  double *q = values(&n, graph, "y", &plan, &count), off = distance(y, q, count);
  if (!(off < 0.06 && off > 1e-4)) fail_msg("by Winograd: %.3g off", off);
  rt_free(y);
  rt_free(q);
  rt_plan_free(plan);
  rt_graph_free(graph);
  rt_store_free(store);
  end(&n);
}

/* What has no int8 form stays in float, between dequantize and quantize. */
static void islands(void **state) {
  network n;
  begin(&n);
  rt_value *a = rt_relu(n.graph, rt_conv2d(n.graph, "a", input(&n), 16, 3, true, "padding=1"));
  rt_value *b = rt_apply(n.graph, "silu", "silu", &a, 1, NULL);
  b = rt_conv2d(n.graph, "b", b, 16, 3, true, "padding=1");
  b = rt_apply(n.graph, "adaptive_avg_pool2d", "pool", &b, 1, NULL);
  b = rt_apply(n.graph, "flatten", "flat", &b, 1, NULL);
  finish(&n, rt_linear(n.graph, "fc", b, 10, true));
  assert_string_equal(rt_int8_obstacle(n.graph->node[1]), "there is no int8 form of it");
  check(&n, 255, (expected){0.02, 2, 0, 3});
  end(&n);
}

/* All levels at their highest: two products are 64,770 in 8 bits, more than 16 bits hold, and 32,258 in 7. */
static void extremes_do_not_saturate(void **state) {
  const int64_t dim[] = {16, 16, 3, 3}, first[] = {16, 3, 1, 1};
  rt_init third = {RT_INIT_CONSTANT, 1.0 / 3, 0};
  network n;
  begin(&n);
  for (int i = 0; i < BATCH * IMAGE; i++) n.x[i] = i % 2 ? 1 : 0.9999f;
  rt_value *a[] = {input(&n), rt_parameter(n.graph, "a.weight", 4, first, third),
                   rt_parameter(n.graph, "a.bias", 1, dim, third)};
  a[0] = rt_relu(n.graph, rt_apply(n.graph, "conv2d", "a", a, 3, NULL));
  a[1] = rt_parameter(n.graph, "b.weight", 4, dim, third);
  a[2] = rt_parameter(n.graph, "b.bias", 1, dim, third);
  a[0] = rt_apply(n.graph, "conv2d", "b", a, 3, NULL);
  finish(&n, rt_conv2d(n.graph, "c", a[0], 10, 1, true, NULL));
  check(&n, 255, (expected){0.01, 1, 0, 3});
  check(&n, 127, (expected){0.02, 1, 0, 3});
  end(&n);
}

static void a_grid_is_missing(void **state) {
  network n;
  rt_store *store;
  rt_graph *graph;
  begin(&n);
  finish(&n, rt_conv2d(n.graph, "a", input(&n), 16, 3, true, "padding=1"));
  calibrate(&n, 255);
  n.row[0].scale = 0;
  OK(rt_store_new(&store));
  assert_int_equal(rt_lower_int8(n.graph, &n.table, store, &graph), RT_E_ARGUMENT);
  assert_non_null(strstr(rt_error(), "the output of x has no scale"));
  rt_store_free(store);
  end(&n);
}

/* The twin of a training graph: batch norm belongs to its convolution; losses fall, and with them learned scales move. */
static void training(void **state) {
  network n;
  rt_graph *fake;
  rt_plan *plan;
  rt_result r;
  const int64_t dim[] = {BATCH, 3, SIDE, SIDE}, target[BATCH] = {1, 0, 2};
  begin(&n);
  rt_value *a = rt_conv2d(n.graph, "a", input(&n), 16, 3, false, "padding=1");
  a = rt_relu(n.graph, rt_batch_norm(n.graph, "na", a));
  rt_value *b = rt_conv2d(n.graph, "b", a, 16, 3, false, "padding=1");
  b = rt_relu(n.graph, rt_add(n.graph, rt_batch_norm(n.graph, "nb", b), a));
  b = rt_apply(n.graph, "flatten", "flat", &b, 1, NULL);
  b = rt_linear(n.graph, "fc", b, 10, true);
  rt_dim batch[] = {rt_symbol(n.graph, "batch")};
  rt_mark_output(n.graph, "loss", rt_cross_entropy(n.graph, b, rt_input(n.graph, "target", RT_S64, 1, batch), NULL));
  finish(&n, b);
  rt_int8_node rows[] = {{"x", true, 0.012, 118}, {"a", true, 0.02, 0}, {"b", true, 0.03, 0}, {"fc", true, 0, 0}};
  n.table = (rt_int8_table){.node = rows, .n = 4, .high = 255};
  OK(rt_fake_quant(n.graph, &n.table, RT_GRIDS_LEARNED, &fake));
  assert_int_equal(count_nodes(fake, RT_OP(fake_quant)), 3);
  assert_int_equal(count_nodes(fake, RT_OP(fake_quant_weight)), 3);
  OK(rt_pass_train(&fake, "loss", NULL));
  OK(rt_pass_layout(&fake));
  OK(rt_store_init(n.store, 5));
  OK(rt_plan_new(fake, NULL, &plan));
  double first = 0, last = 0, rate = 0.05;
  float lr = (float)rate, scale;
  rt_feed feeds[] = {{"x", 4, dim, n.x}, {"target", 1, dim, target}, {"lr", 0, NULL, &lr}};
  for (int i = 0; i < 12; i++) {
    OK(rt_plan_run(plan, feeds, 3));
    OK(rt_plan_result(plan, "loss", &r));
    last = (double)*(const float *)r.data;
    if (i == 0) first = last;
  }
  if (!(last < 0.5 * first)) fail_msg("the loss went from %.3g to %.3g", first, last);
  OK(rt_store_get(n.store, "b.out.scale", &scale, sizeof scale));
  assert_true(scale > 0 && fabs((double)scale - 0.03) > 1e-6);
  rt_plan_free(plan);
  rt_graph_free(fake);
  end(&n);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_residual_network),
                                     cmocka_unit_test(grids_with_a_zero_point),
                                     cmocka_unit_test(by_winograd),
                                     cmocka_unit_test(islands),
                                     cmocka_unit_test(moved_elements),
                                     cmocka_unit_test(extremes_do_not_saturate),
                                     cmocka_unit_test(a_grid_is_missing),
                                     cmocka_unit_test(training),
                                     cmocka_unit_test(levels_between_products),
                                     cmocka_unit_test(nothing_to_gain)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
