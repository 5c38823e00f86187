/* ONNX models as networks: initializers of every type, an open batch, layers recognised, softmax taken off; and the published
 * output of a published model, where its files are beside the project. */
#include "base/alloc.h"
#include "format/onnx.h"
#include "onnx/onnx.h"
#include "onnx_model.h"

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
      cmocka_unit_test(layers_are_recognised),
      cmocka_unit_test(memory_may_run_out_anywhere),
      cmocka_unit_test(a_published_model),
  };
  return cmocka_run_group_tests(tests, make_file, remove_file);
}
