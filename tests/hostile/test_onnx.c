/* ONNX models that lie: about their elements, names, order, shapes, other files. All end in a sentence. */
#include "base/alloc.h"
#include "guard.h"
#include "onnx/onnx.h"
#include "onnx_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static rt_status build(rt_file *file, bool network) {
  rt_store *store;
  rt_graph *g;
  rt_onnx *m;
  rt_onnx_options o = {.network = network};
  rt_status s = rt_onnx_open(file, &m);
  if (s != RT_OK) return s;
  assert_int_equal(rt_store_new(&store), RT_OK);
  assert_int_equal(rt_graph_new(store, &g), RT_OK);
  s = rt_onnx_build(m, g, &o);
  if (s == RT_OK) s = rt_onnx_load(m, store, true);
  rt_onnx_free(m);
  rt_graph_free(g);
  rt_store_free(store);
  return s;
}

static rt_status import(const unsigned char *bytes, size_t size, bool network) {
  rt_file *file;
  test_guard g = test_guard_new(bytes, size);
  int64_t live = rt_alloc_count().live;
  rt_status s = rt_file_open_bytes(g.bytes, size, "input", &file);
  if (s == RT_OK) s = build(file, network);
  rt_file_free(file);
  test_guard_free(&g);
  if (s != RT_OK && strncmp(rt_error(), "input: ", 7) != 0) fail_msg("no sentence about the file: %s", rt_error());
  assert_int_equal(rt_alloc_count().live, live);
  return s;
}

static void refused(const test_message *graph, const char *fragment) {
  test_message model;
  test_model(&model, graph, 17);
  if (import(model.bytes, model.n, false) == RT_OK) fail_msg("taken, and should be refused: %s", fragment);
  if (!strstr(rt_error(), fragment)) fail_msg("expected %s, found %s", fragment, rt_error());
}

static const int64_t two[] = {2}, square[] = {2, 2};
static const float numbers[] = {1, 2, 3, 4};

static test_message with_input(void) {
  test_message g = {.n = 0};
  test_port(&g, 11, "x", 1, square, 2);
  test_port(&g, 12, "y", 1, square, 2);
  return g;
}

static void cut_short(void **state) {
  test_message m;
  test_small_model(&m);
  assert_int_equal(import(m.bytes, m.n, false), RT_OK);
  assert_int_equal(import(m.bytes, m.n, true), RT_OK);
  for (size_t n = 0; n < m.n; n++) import(m.bytes, n, false); /* a message without its last field may be a model */
}

static void changed(void **state) {
  static const unsigned char masks[] = {0x01, 0x04, 0x20, 0x80, 0xFF};
  test_message m;
  size_t taken = 0;
  test_small_model(&m);
  for (size_t i = 0; i < m.n; i++)
    for (size_t k = 0; k < sizeof masks; k++) {
      m.bytes[i] ^= masks[k];
      taken += import(m.bytes, m.n, true) == RT_OK;
      m.bytes[i] ^= masks[k];
    }
  assert_true(taken > 0 && taken < m.n * sizeof masks);
}

static void circles(void **state) {
  test_message g = with_input();
  test_node(&g, "Relu", "first", "b", "a", NULL);
  test_node(&g, "Relu", "second", "a", "b", NULL);
  test_node(&g, "Relu", "last", "x", "y", NULL);
  refused(&g, "wait for each other in a circle, of which first");
  g = with_input();
  test_node(&g, "Add", "itself", "x y", "y", NULL);
  refused(&g, "in a circle, of which itself (Add)");
}

static void names(void **state) {
  test_message g = with_input();
  test_node(&g, "Relu", "lonely", "nobody", "y", NULL);
  refused(&g, "node lonely (Relu) reads nobody, which nothing makes");
  g = with_input();
  test_node(&g, "Relu", "one", "x", "y", NULL);
  test_node(&g, "Relu", "two", "x", "y", NULL);
  refused(&g, "two values are called y");
  g = with_input();
  test_node(&g, "Relu", "one", "y", "x", NULL);
  refused(&g, "two values are called x");
  g = with_input();
  refused(&g, "output y is made by nothing");
  g = with_input();
  test_node(&g, "Relu", "bell\a", "x", "y", NULL);
  refused(&g, "name that is too long or no text");
  g = with_input();
  test_initializer(&g, "w", 1, two, 1, numbers, 8);
  test_initializer(&g, "w", 1, two, 1, numbers, 8);
  refused(&g, "two tensors are called w");
}

static void elements(void **state) {
  static const struct {
    int64_t dim[3];
    int rank, type;
    size_t bytes;
    const char *fragment;
  } cases[] = {{{2}, 1, 1, 4, "has 4 bytes, and its shape says 8"},
               {{1 << 30, 1 << 30, 1 << 30}, 3, 1, 4, "a shape that no memory can hold"},
               {{1 << 20, 1 << 20, 1}, 3, 1, 4, "has 4 bytes"},
               {{-2}, 1, 1, 8, "a shape that no memory can hold"},
               {{2}, 1, 8, 8, "data type 8, which isn't known"},
               {{2}, 1, 10, 8, "its shape says 4"},
               {{2}, 1, 0, 8, "data type 0"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    test_message g = with_input();
    test_initializer(&g, "w", cases[i].type, cases[i].dim, cases[i].rank, numbers, cases[i].bytes);
    test_node(&g, "Relu", "r", "x", "y", NULL);
    refused(&g, cases[i].fragment);
  }
  test_message g = with_input(), t = {.n = 0};
  for (int d = 0; d < 9; d++) test_number(&t, 1, 1);
  test_number(&t, 2, 1);
  test_text(&t, 8, "w");
  test_put_message(&g, 5, &t);
  refused(&g, "9 dimensions; at most 8");
}

static void shapes(void **state) {
  test_message g = with_input();
  test_initializer(&g, "w", 1, (int64_t[]){5, 1, 3, 3}, 4, (float[45]){0}, 180);
  test_node(&g, "Conv", "conv", "x w", "y", NULL);
  refused(&g, "Conv \"conv\" (its weight has rank 4, its input 2)");
  g = with_input();
  test_initializer(&g, "w", 1, (int64_t[]){3, 2}, 2, (float[6]){0}, 24);
  test_node(&g, "MatMul", "product", "x w", "y", NULL);
  refused(&g, "node product (MatMul): linear product: x is f32[2, 2]");
  g = with_input();
  test_initializer(&g, "s", 7, (int64_t[]){1}, 1, (int64_t[]){3}, 8);
  test_node(&g, "Reshape", "shape", "x s", "y", NULL);
  refused(&g, "the elements of f32[2, 2] do not fit f32[3]");
}

static test_message with_shape(const int64_t *dim, int rank) {
  test_message g = {.n = 0};
  test_port(&g, 11, "x", 1, dim, rank);
  test_port(&g, 12, "y", 1, square, 2);
  return g;
}

/* Numbers whose sums and products no integer can hold. */
static void sizes(void **state) {
  static const int64_t large = INT64_MAX, most[] = {1, 1, 1, (int64_t)1 << 53}, ends[] = {0, INT64_MAX, INT64_MIN, -1};
  test_message g = with_shape((int64_t[]){INT64_MAX / 2, INT64_MAX / 2}, 2), axis = {.n = 0};
  test_node(&g, "Flatten", "flat", "x", "y", NULL);
  refused(&g, "is larger than what can be addressed");
  g = with_shape(most, 4);
  test_initializer(&g, "s", 1, (int64_t[]){4}, 1, (float[]){1, 1, 1, 1e6f}, 16);
  test_node(&g, "Resize", "larger", "x - s", "y", NULL);
  refused(&g, "axis 3 would have 9.01e+21 elements");
  g = with_shape(most, 4);
  test_attribute_int(&axis, "axis", 3);
  test_node(&g, "Concat", "long", "x x x", "y", &axis);
  refused(&g, "is larger than what can be addressed");
  g = with_input();
  test_initializer(&g, "s", 7, (int64_t[]){3}, 1, (int64_t[]){INT64_MAX, 2, 2}, 24);
  test_node(&g, "Expand", "wide", "x s", "y", NULL);
  refused(&g, "is larger than what can be addressed");
  g = with_shape((int64_t[]){0, 2}, 2);
  test_initializer(&g, "s", 7, two, 1, (int64_t[]){INT64_MAX, INT64_MAX}, 16);
  test_node(&g, "Split", "parts", "x s", "y z", NULL);
  refused(&g, "a part that is empty or outside of the axis");
  for (int i = 0; i < 16; i++) { /* of 3 numbers, from, to and in steps that leave every one of them far behind */
    g = with_input();
    test_initializer(&g, "k", 7, (int64_t[]){3}, 1, (int64_t[]){7, 7, 7}, 24);
    test_initializer(&g, "a", 7, (int64_t[]){1}, 1, &ends[i % 4], 8);
    test_initializer(&g, "b", 7, (int64_t[]){1}, 1, &ends[i / 4], 8);
    test_initializer(&g, "c", 7, (int64_t[]){1}, 1, &(int64_t){0}, 8);
    test_initializer(&g, "d", 7, (int64_t[]){1}, 1, i % 2 ? &large : &ends[2], 8);
    test_node(&g, "Slice", "cut", "k a b c d", "s", NULL);
    test_node(&g, "Reshape", "shape", "x s", "y", NULL);
    refused(&g, "the elements of f32[2, 2] do not fit");
  }
}

/* Everything that can't be imported, at once; what only suffers from it isn't named. */
static void unsupported(void **state) {
  test_message g = with_input();
  test_node(&g, "NonMaxSuppression", "nms", "x", "a", NULL);
  test_node(&g, "Relu", "after", "a", "b", NULL);
  test_node(&g, "Loop", "loop", "b", "c", NULL);
  test_message axes = {.n = 0};
  test_attribute_int(&axes, "axis", 7);
  test_node(&g, "Softmax", "soft", "x", "d", &axes);
  test_node(&g, "Add", "sum", "c d", "y", NULL);
  refused(&g, "input: 3 of its 5 nodes can't be imported: ");
  assert_non_null(strstr(rt_error(), "NonMaxSuppression \"nms\""));
  assert_non_null(strstr(rt_error(), "Loop \"loop\""));
  assert_non_null(strstr(rt_error(), "Softmax \"soft\" (axis 7 of a tensor of rank 2)"));
  assert_null(strstr(rt_error(), "after"));
}

static void versions(void **state) {
  test_message g = with_input(), m;
  test_node(&g, "Relu", "r", "x", "y", NULL);
  static const int64_t bad[] = {0, 6, 99, -1};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    test_model(&m, &g, bad[i]);
    assert_int_equal(import(m.bytes, m.n, false), RT_E_UNSUPPORTED);
    assert_non_null(strstr(rt_error(), "it is written in opset"));
  }
}

/* ---- data in other files ---- */

static char directory[] = "/tmp/retort-onnx-XXXXXX";

static rt_status open_with(const char *location, const char *offset, const char *length) {
  test_message g = with_input(), t = {.n = 0}, m;
  const char *pairs[3][2] = {{"location", location}, {"offset", offset}, {"length", length}};
  test_number(&t, 1, 2);
  test_number(&t, 2, 1);
  test_text(&t, 8, "w");
  for (int i = 0; i < 3; i++) {
    test_message p = {.n = 0};
    if (!pairs[i][1]) continue;
    test_text(&p, 1, pairs[i][0]);
    test_text(&p, 2, pairs[i][1]);
    test_put_message(&t, 13, &p);
  }
  test_number(&t, 14, 1);
  test_put_message(&g, 5, &t);
  test_node(&g, "Add", "sum", "x w", "y", NULL);
  test_model(&m, &g, 17);
  char path[256];
  snprintf(path, sizeof path, "%s/inner/model.onnx", directory);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(m.bytes, 1, m.n, f), m.n);
  fclose(f);
  rt_file *file;
  rt_status s = rt_file_open(path, &file);
  if (s == RT_OK) s = build(file, false);
  rt_file_free(file);
  return s;
}

static void write_numbers(const char *name) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(numbers, 1, sizeof numbers, f), sizeof numbers);
  fclose(f);
}

static int make_directory(void **state) {
  char path[256];
  if (!mkdtemp(directory)) return -1;
  snprintf(path, sizeof path, "%s/inner", directory);
  if (mkdir(path, 0700) != 0) return -1;
  write_numbers("outside.bin");
  write_numbers("inner/inside.bin");
  snprintf(path, sizeof path, "%s/inner/link.bin", directory);
  return symlink("../outside.bin", path);
}

static int remove_directory(void **state) {
  static const char *const names[] = {
      "inner/link.bin", "inner/inside.bin", "inner/model.onnx", "outside.bin", "inner", ""};
  char path[256];
  for (int i = 0; i < 6; i++) {
    snprintf(path, sizeof path, "%s/%s", directory, names[i]);
    if (remove(path) != 0) return -1;
  }
  return 0;
}

static void other_files(void **state) {
  static const char *const outside[] = {"../outside.bin", "link.bin", "/etc/passwd", "a/../../outside.bin", ""};
  if (open_with("inside.bin", "8", "8") != RT_OK) fail_msg("%s", rt_error());
  if (open_with("inside.bin", NULL, NULL) != RT_OK) fail_msg("%s", rt_error());
  for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
    assert_int_equal(open_with(outside[i], NULL, NULL), RT_E_FORMAT);
    assert_non_null(strstr(rt_error(), "outside of the model's own directory"));
  }
  assert_int_equal(open_with("missing.bin", NULL, NULL), RT_E_IO);
  assert_non_null(strstr(rt_error(), "data file missing.bin can't be read"));
  assert_int_equal(open_with("inside.bin", "12", NULL), RT_E_FORMAT);
  assert_non_null(strstr(rt_error(), "8 bytes from byte 12 of inside.bin, which has 16"));
  assert_int_equal(open_with("inside.bin", "18446744073709551612", NULL), RT_E_FORMAT);
  assert_int_equal(open_with("inside.bin", "4", "12"), RT_E_FORMAT);
  assert_int_equal(open_with("inside.bin", "four", NULL), RT_E_FORMAT);
  assert_int_equal(open_with(NULL, NULL, NULL), RT_E_FORMAT);
}

/* A file of nothing but empty nodes: messages need more memory than their bytes, and that has a bound. */
static void swarms(void **state) {
  test_message g = {.n = 0}, m;
  while (g.n + 64 < TEST_MESSAGE_MOST / 2) test_bytes(&g, 1, "", 0);
  test_model(&m, &g, 17);
  import(m.bytes, m.n, false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(cut_short),
      cmocka_unit_test(changed),
      cmocka_unit_test(circles),
      cmocka_unit_test(names),
      cmocka_unit_test(elements),
      cmocka_unit_test(shapes),
      cmocka_unit_test(versions),
      cmocka_unit_test(unsupported),
      cmocka_unit_test(sizes),
      cmocka_unit_test(swarms),
      cmocka_unit_test_setup_teardown(other_files, make_directory, remove_directory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
