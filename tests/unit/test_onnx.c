/* ONNX models as networks: initializers of every type, an open batch, layers recognised, softmax taken off; and the published
 * output of a published model, where its files are beside the project. */
#include "base/alloc.h"
#include "format/onnx.h"
#include "onnx/onnx.h"
#include "onnx_model.h"
#include "pass/int8.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/retort-onnx-XXXXXX.onnx";

static void ok(rt_status s) {
  if (s != RT_OK) fail_msg("%s", rt_error());
}

static int make_file(void **state) {
  int fd = mkstemps(path, 5);
  if (fd >= 0) close(fd);
  return fd < 0;
}

static int remove_file(void **state) { return unlink(path); }

static void write_bytes(const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}

static void write_graph(const test_message *graph, int64_t opset) {
  test_message m;
  test_model(&m, graph, opset);
  write_bytes(m.bytes, m.n);
}

static void a_batch_is_open(void **state) {
  static const float x[] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1};
  static const float expected[] = {1.5f, 0, 3.5f, 0, 5.5f, 0, 9.5f, 0};
  test_message m;
  rt_network *n;
  rt_network_info info;
  const float *logits;
  test_small_model(&m);
  write_bytes(m.bytes, m.n);
  ok(rt_network_open(path, NULL, &n));
  rt_network_describe(n, &info);
  assert_string_equal(info.model, "onnx");
  assert_true(info.channels == 3 && info.height == 1 && info.width == 1 && info.classes == 2);
  for (int64_t batch = 1; batch <= 4; batch++) {
    ok(rt_network_run(n, x, batch, &logits));
    assert_memory_equal(logits, expected, (size_t)batch * 2 * sizeof *logits);
  }
  rt_network_free(n);
}

/* A batch that the file fixes to 1, also in a reshape, is open here; a softmax at the end isn't logits. */
static void a_fixed_batch_is_opened(void **state) {
  static const float w[] = {1, -1, 2, -2, 3, -3, 4, -4}, x[] = {1, 2, 3, 4, 4, 3, 2, 1};
  test_message g = {.n = 0};
  rt_network *n;
  const float *logits;
  test_port(&g, 11, "image", 1, (int64_t[]){1, 1, 2, 2}, 4);
  test_port(&g, 12, "probabilities", 1, (int64_t[]){1, 2}, 2);
  test_initializer(&g, "shape", 7, (int64_t[]){2}, 1, (int64_t[]){1, 4}, 16);
  test_initializer(&g, "w", 1, (int64_t[]){4, 2}, 2, w, sizeof w);
  test_node(&g, "Reshape", "flat", "image shape", "v", NULL);
  test_node(&g, "MatMul", "product", "v w", "z", NULL);
  test_node(&g, "Softmax", "soft", "z", "probabilities", NULL);
  write_graph(&g, 13);
  ok(rt_network_open(path, NULL, &n));
  ok(rt_network_run(n, x, 2, &logits));
  assert_true(logits[0] == 30 && logits[1] == -30 && logits[2] == 20 && logits[3] == -20);
  rt_network_free(n);
}

/* y = x + Σ of a row of constants, each of which the file has in another type. */
static void initializers_of_every_type(void **state) {
  static const struct {
    int32_t type;
    unsigned char bytes[16];
    size_t size;
    double value; /* of both elements */
  } t[] = {{1, {0, 0, 0x20, 0x40, 0, 0, 0x20, 0x40}, 8, 2.5},
           {2, {200, 200}, 2, 200},
           {3, {0xFE, 0xFE}, 2, -2},
           {4, {0, 0xFF, 0, 0xFF}, 4, 65280},
           {5, {0, 0xFF, 0, 0xFF}, 4, -256},
           {6, {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, 8, -1},
           {7, {5, 0, 0, 0, 0, 0, 0, 0, 5}, 16, 5},
           {9, {1, 1}, 2, 1},
           {10, {0, 0x41, 0, 0x41}, 4, 2.5},
           {11, {0, 0, 0, 0, 0, 0, 4, 0x40, 0, 0, 0, 0, 0, 0, 4, 0x40}, 16, 2.5},
           {12, {7, 0, 0, 0, 7, 0, 0, 0}, 8, 7},
           {13, {7, 0, 0, 0, 0, 0, 0, 0, 7}, 16, 7},
           {16, {0x20, 0x40, 0x20, 0x40}, 4, 2.5},
           {21, {0xEE}, 1, 14},
           {22, {0xEE}, 1, -2}};
  for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
    test_message g = {.n = 0}, to = {.n = 0};
    rt_network *n;
    const float *y;
    test_port(&g, 11, "x", 1, (int64_t[]){0, 2}, 2);
    test_port(&g, 12, "y", 1, (int64_t[]){0, 2}, 2);
    test_initializer(&g, "c", t[i].type, (int64_t[]){2}, 1, t[i].bytes, t[i].size);
    test_attribute_int(&to, "to", 1);
    test_node(&g, "Cast", "float", "c", "f", &to);
    test_node(&g, "Add", "sum", "x f", "y", NULL);
    write_graph(&g, 21);
    ok(rt_network_open(path, NULL, &n));
    ok(rt_network_run(n, (float[]){0, 1}, 1, &y));
    if ((double)y[0] != t[i].value || (double)y[1] != t[i].value + 1)
      fail_msg("type %d: %g, %g; expected %g", t[i].type, (double)y[0], (double)y[1], t[i].value);
    rt_network_free(n);
  }
}

/* The pads that PyTorch's exporter computes of F.pad's: in pairs from the last axis, turned into all begins and all ends. */
static void computed_pads(void **state) {
  static const float x[] = {1, 2}, expected[] = {0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 0, 0};
  test_message g = {.n = 0}, perm = {.n = 0};
  rt_network *n;
  const float *y;
  test_port(&g, 11, "x", 1, (int64_t[]){0, 1, 2, 1}, 4);
  test_port(&g, 12, "y", 1, (int64_t[]){0, 12}, 2);
  test_initializer(&g, "pairs", 7, (int64_t[]){4, 2}, 2, (int64_t[]){1, 1, 1, 1, 0, 0, 0, 0}, 64);
  test_initializer(&g, "last", 7, (int64_t[]){1}, 1, (int64_t[]){-1}, 8);
  test_initializer(&g, "first", 7, (int64_t[]){1}, 1, (int64_t[]){INT64_MIN}, 8);
  test_initializer(&g, "zero", 7, (int64_t[]){1}, 1, (int64_t[]){0}, 8);
  test_attribute_ints(&perm, "perm", (int64_t[]){1, 0}, 2);
  test_node(&g, "Slice", "backwards", "pairs last first zero last", "turned", NULL);
  test_node(&g, "Transpose", "apart", "turned", "table", &perm);
  test_node(&g, "Reshape", "list", "table last", "pads", NULL);
  test_node(&g, "Pad", "frame", "x pads", "framed", NULL);
  test_node(&g, "Flatten", "flat", "framed", "y", NULL);
  write_graph(&g, 17);
  ok(rt_network_open(path, NULL, &n));
  ok(rt_network_run(n, x, 1, &y));
  assert_memory_equal(y, expected, sizeof expected);
  rt_network_free(n);
}

/* Elements in the fields for their types, as older exporters write them. */
static void typed_elements(void **state) {
  test_message g = {.n = 0}, c = {.n = 0}, d = {.n = 0};
  rt_network *n;
  const float *y;
  test_port(&g, 11, "x", 1, (int64_t[]){0, 2}, 2);
  test_port(&g, 12, "y", 1, (int64_t[]){0, 2}, 2);
  test_number(&c, 1, 2);
  test_number(&c, 2, 1);
  test_bytes(&c, 4, (float[]){1.5f, 2.5f}, 8);
  test_text(&c, 8, "c");
  test_put_message(&g, 5, &c);
  test_number(&d, 1, 2);
  test_number(&d, 2, 10); /* f16 as bits in int32_data: 1 and -2 */
  test_number(&d, 5, 0x3C00);
  test_number(&d, 5, 0xC000);
  test_text(&d, 8, "d");
  test_put_message(&g, 5, &d);
  test_node(&g, "Add", "first", "x c", "z", NULL);
  test_node(&g, "Add", "second", "z d", "y", NULL);
  write_graph(&g, 9);
  ok(rt_network_open(path, NULL, &n));
  ok(rt_network_run(n, (float[]){0, 0}, 1, &y));
  assert_true(y[0] == 2.5f && y[1] == 0.5f);
  rt_network_free(n);
}

static int count(const rt_graph *g, const char *op) {
  int n = 0;
  for (int i = 0; i < g->n_nodes; i++) n += strcmp(g->node[i]->op->name, op) == 0;
  return n;
}

/* MatMul and Add by weights are one linear layer with a bias; the order of nodes in the file doesn't matter. */
static void layers_are_recognised(void **state) {
  test_message m;
  rt_store *store;
  rt_graph *g;
  float w[6];
  test_small_model(&m);
  write_bytes(m.bytes, m.n);
  ok(rt_store_new(&store));
  ok(rt_graph_read(path, NULL, store, &g));
  ok(rt_pass_prune(&g));
  assert_int_equal(count(g, "linear"), 1);
  assert_int_equal(count(g, "add") + count(g, "matmul") + count(g, "transpose"), 0);
  assert_non_null(rt_find(g, "y"));
  const rt_value *layer = rt_find_layer(g, "product"); /* by the names of nodes and of tensors that it stands for */
  assert_non_null(layer);
  assert_true(rt_find_layer(g, "sum") == layer && rt_find_layer(g, "z") == layer && !rt_find_layer(g, "xw"));
  assert_true(rt_find_layer(g, "positive") != layer && rt_find_layer(g, "y") == rt_find_layer(g, "positive"));
  ok(rt_store_get(store, "w", w, sizeof w)); /* O×K, as our layers have it */
  assert_memory_equal(w, ((float[]){1, 3, 5, 2, 4, 6}), sizeof w);
  rt_graph_free(g);
  rt_store_free(store);
}

static void memory_may_run_out_anywhere(void **state) {
  test_message m;
  rt_network *n;
  int64_t live = rt_alloc_count().live;
  test_small_model(&m);
  write_bytes(m.bytes, m.n);
  rt_status s = RT_E_MEMORY;
  for (int64_t k = 0; s != RT_OK; k++) {
    assert_true(k < 5000);
    rt_alloc_fail_after(k);
    s = rt_network_open(path, NULL, &n);
    rt_alloc_fail_after(-1);
    if (s != RT_OK) {
      assert_int_equal(s, RT_E_MEMORY);
      assert_null(n);
      assert_int_equal(rt_alloc_count().live, live);
    }
  }
  rt_network_free(n);
}

/* ---- int8: as QDQ and back ---- */

enum { SIDE = 8, CHANNELS = 4, OUTPUTS = 3 };

/* conv(3×3) + relu, conv(3×3) + the first one's result + relu, mean, linear; all with weights of their own. */
static rt_graph *float_network(rt_store *store) {
  rt_graph *g;
  ok(rt_graph_new(store, &g));
  rt_dim dim[] = {rt_symbol(g, "batch"), 3, SIDE, SIDE};
  rt_value *a = rt_conv2d(g, "first", rt_input(g, "x", RT_F32, 4, dim), CHANNELS, 3, true, "padding=1 activation=relu");
  rt_value *w =
      rt_parameter(g, "second.weight", 4, (int64_t[]){CHANNELS, CHANNELS, 3, 3}, (rt_init){RT_INIT_NORMAL, 0, 0.2});
  rt_value *b = rt_parameter(g, "second.bias", 1, (int64_t[]){CHANNELS}, (rt_init){RT_INIT_NORMAL, 0, 0.2});
  rt_value *y = rt_apply(g, "conv2d", "second", (rt_value *[]){a, w, b, a}, 4, "padding=1 activation=relu");
  y = rt_apply(g, "adaptive_avg_pool2d", "mean", &y, 1, NULL);
  y = rt_apply(g, "flatten", "flat", &y, 1, NULL);
  rt_mark_output(g, "logits", rt_linear(g, "head", y, OUTPUTS, true));
  ok(rt_graph_status(g));
  return g;
}

/* Weights of a product on their grid, and its bias as it is. */
static void fill(rt_store *from, rt_store *to, const char *name) {
  char weight[64], scale[64], bias[64];
  snprintf(weight, sizeof weight, "%s.weight", name);
  snprintf(scale, sizeof scale, "%s.weight_scale", name);
  snprintf(bias, sizeof bias, "%s.bias", name);
  const rt_var *w = rt_store_find(from, weight), *b = rt_store_find(from, bias);
  int64_t filters = w->type.dim[0], each = rt_type_elements(&w->type) / filters;
  int8_t q[512];
  float s[16];
  for (int64_t o = 0; o < filters; o++) {
    float most = 0;
    for (int64_t i = 0; i < each; i++) most = fmaxf(most, fabsf(((const float *)w->data)[o * each + i]));
    s[o] = most / 127;
    for (int64_t i = 0; i < each; i++)
      q[o * each + i] = (int8_t)nearbyintf(((const float *)w->data)[o * each + i] / s[o]);
  }
  ok(rt_store_set(to, weight, q, (size_t)(filters * each)));
  ok(rt_store_set(to, scale, s, (size_t)filters * sizeof *s));
  ok(rt_store_set(to, bias, b->data, (size_t)filters * sizeof *s));
}

static void declare_grid(rt_store *store, const rt_int8_node *n) {
  char name[64];
  rt_var *v;
  rt_type f32 = {.dtype = RT_F32}, s32 = {.dtype = RT_S32};
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  float scale = (float)n->scale;
  int32_t zero_point = n->zero_point;
  snprintf(name, sizeof name, "%s.out_scale", n->node);
  ok(rt_store_declare(store, name, &f32, RT_SEGMENT_STATISTIC, &zero, &v));
  ok(rt_store_set(store, name, &scale, sizeof scale));
  snprintf(name, sizeof name, "%s.out_zero_point", n->node);
  ok(rt_store_declare(store, name, &s32, RT_SEGMENT_STATISTIC, &zero, &v));
  ok(rt_store_set(store, name, &zero_point, sizeof zero_point));
}

static void run_graph(rt_graph **g, const float *x, float *logits) {
  rt_plan *plan;
  rt_result r;
  rt_plan_options o = {.kernels = RT_KERNELS_REFERENCE};
  int64_t dim[] = {2, 3, SIDE, SIDE};
  rt_feed feed = {"x", 4, dim, x};
  ok(rt_plan_new(*g, &o, &plan));
  ok(rt_plan_run(plan, &feed, 1));
  ok(rt_plan_result(plan, "logits", &r));
  memcpy(logits, r.data, 2 * OUTPUTS * sizeof *logits);
  rt_plan_free(plan);
}

static void int8_goes_out_as_qdq_and_comes_back(void **state) {
  static const char *const products[] = {"first", "second", "head"};
  for (int narrow = 0; narrow < 2; narrow++) { /* levels to 255, and to 127 */
    double unit = narrow ? 2 : 1;
    const rt_int8_node nodes[] = {{"x", true, 0.025 * unit, narrow ? 64 : 128},
                                  {"first", true, 0.015 * unit, 0},
                                  {"second", true, 0.03 * unit, 0},
                                  {"mean", false, 0.01 * unit, 0},
                                  {"flat", false, 0.005 * unit, 0},
                                  {"head", true, 0, 0}};
    const rt_int8_table table = {nodes, 6, narrow ? 127 : 255};
    rt_store *store, *small, *back;
    rt_graph *g, *lowered, *again;
    float x[2 * 3 * SIDE * SIDE], ours[2 * OUTPUTS], theirs[2 * OUTPUTS], plain[2 * OUTPUTS], most = 0;
    for (int i = 0; i < 2 * 3 * SIDE * SIDE; i++) x[i] = 2 * sinf((float)(i * i % 97));
    ok(rt_store_new(&store));
    ok(rt_store_new(&small));
    ok(rt_store_new(&back));
    g = float_network(store);
    ok(rt_store_init(store, 5));
    run_graph(&g, x, plain);
    ok(rt_lower_int8(g, &table, small, &lowered));
    for (int i = 0; i < 3; i++) fill(store, small, products[i]);
    for (int i = 0; i < 3; i++) declare_grid(small, &nodes[i]);
    run_graph(&lowered, x, ours);
    rt_onnx_write how = {0};
    ok(rt_onnx_export_graph(lowered, path, &how));
    ok(rt_graph_read(path, &(rt_read_options){.classifier = true}, back, &again));
    assert_true(count(again, "quantize") == 3 && count(again, "conv2d") == 2 && count(again, "linear") == 1);
    assert_int_equal(count(again, "reduce") + count(again, "sum"), 0); /* what int8 kernels want is left out */
    run_graph(&again, x, theirs);
    for (int i = 0; i < 2 * OUTPUTS; i++) most = fmaxf(most, fabsf(plain[i]));
    for (int i = 0; i < 2 * OUTPUTS; i++)
      if (fabsf(ours[i] - theirs[i]) > 0.02f * most || fabsf(ours[i] - plain[i]) > 0.15f * most)
        fail_msg("logit %d: %g in int8, %g as QDQ, %g in floats", i, (double)ours[i], (double)theirs[i],
                 (double)plain[i]);
    rt_graph_free(g);
    rt_graph_free(lowered);
    rt_graph_free(again);
    rt_store_free(store);
    rt_store_free(small);
    rt_store_free(back);
  }
}

/* ---- github.com/onnx/models: mnist-8 with its input and output ---- */

static Rt__Onnx__Tensor *read_tensor(const char *name) {
  static unsigned char bytes[1 << 16];
  FILE *f = fopen(name, "rb");
  assert_non_null(f);
  size_t n = fread(bytes, 1, sizeof bytes, f);
  fclose(f);
  Rt__Onnx__Tensor *t = rt__onnx__tensor__unpack(NULL, n, bytes);
  assert_non_null(t);
  return t;
}

static const float *floats(const Rt__Onnx__Tensor *t) {
  return t->n_float_data ? t->float_data : (const float *)(const void *)t->raw_data.data;
}

static void a_published_model(void **state) {
  const char *model = "../shared/data/onnx/mnist-8.onnx";
  if (access(model, R_OK) != 0) skip();
  Rt__Onnx__Tensor *x = read_tensor("../shared/data/onnx/mnist-8_test_data_set_0/input_0.pb");
  Rt__Onnx__Tensor *y = read_tensor("../shared/data/onnx/mnist-8_test_data_set_0/output_0.pb");
  rt_network *n;
  rt_network_info info;
  const float *logits;
  ok(rt_network_open(model, NULL, &n));
  rt_network_describe(n, &info);
  assert_true(info.channels == 1 && info.height == 28 && info.width == 28 && info.classes == 10);
  ok(rt_network_run(n, floats(x), 1, &logits));
  for (int i = 0; i < 10; i++) {
    double apart = fabs((double)logits[i] - (double)floats(y)[i]);
    if (!(apart <= 1e-5 * 6000)) fail_msg("logit %d: %g, published %g", i, (double)logits[i], (double)floats(y)[i]);
  }
  rt_network_free(n);
  rt__onnx__tensor__free_unpacked(x, NULL);
  rt__onnx__tensor__free_unpacked(y, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_batch_is_open),
      cmocka_unit_test(a_fixed_batch_is_opened),
      cmocka_unit_test(initializers_of_every_type),
      cmocka_unit_test(typed_elements),
      cmocka_unit_test(computed_pads),
      cmocka_unit_test(layers_are_recognised),
      cmocka_unit_test(memory_may_run_out_anywhere),
      cmocka_unit_test(int8_goes_out_as_qdq_and_comes_back),
      cmocka_unit_test(a_published_model),
  };
  return cmocka_run_group_tests(tests, make_file, remove_file);
}
