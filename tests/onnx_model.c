#include "onnx_model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */
#include <string.h>

enum { VARINT = 0, BYTES = 2, FIXED32 = 5 };

static void put(test_message *m, const void *bytes, size_t n) {
  assert_true(m->n + n <= sizeof m->bytes);
  if (n) memcpy(m->bytes + m->n, bytes, n);
  m->n += n;
}

static void put_varint(test_message *m, uint64_t v) {
  do {
    unsigned char byte = (unsigned char)((v & 127) | (v > 127 ? 128 : 0));
    put(m, &byte, 1);
    v >>= 7;
  } while (v);
}

void test_number(test_message *m, int field, int64_t value) {
  put_varint(m, (uint64_t)field << 3 | VARINT);
  put_varint(m, (uint64_t)value);
}

void test_float(test_message *m, int field, float value) {
  put_varint(m, (uint64_t)field << 3 | FIXED32);
  put(m, &value, sizeof value);
}

void test_bytes(test_message *m, int field, const void *bytes, size_t n) {
  put_varint(m, (uint64_t)field << 3 | BYTES);
  put_varint(m, n);
  put(m, bytes, n);
}

void test_text(test_message *m, int field, const char *text) { test_bytes(m, field, text, strlen(text)); }
void test_put_message(test_message *m, int field, const test_message *inner) {
  test_bytes(m, field, inner->bytes, inner->n);
}

static void put_names(test_message *m, int field, const char *names) {
  while (*names) {
    size_t n = strcspn(names, " ");
    test_bytes(m, field, names, n == 1 && *names == '-' ? 0 : n);
    names += n + strspn(names + n, " ");
  }
}

void test_node(test_message *graph, const char *op, const char *name, const char *inputs, const char *outputs,
               const test_message *attributes) {
  test_message node = {.n = 0};
  put_names(&node, 1, inputs);
  put_names(&node, 2, outputs);
  test_text(&node, 3, name);
  test_text(&node, 4, op);
  if (attributes) put(&node, attributes->bytes, attributes->n);
  test_put_message(graph, 1, &node);
}

void test_attribute_ints(test_message *attributes, const char *name, const int64_t *v, int n) {
  test_message a = {.n = 0};
  test_text(&a, 1, name);
  for (int i = 0; i < n; i++) test_number(&a, 8, v[i]);
  test_number(&a, 20, 7);
  test_put_message(attributes, 5, &a);
}

void test_attribute_int(test_message *attributes, const char *name, int64_t v) {
  test_message a = {.n = 0};
  test_text(&a, 1, name);
  test_number(&a, 3, v);
  test_number(&a, 20, 2);
  test_put_message(attributes, 5, &a);
}

void test_port(test_message *graph, int field, const char *name, int32_t type, const int64_t *dim, int rank) {
  test_message shape = {.n = 0}, tensor = {.n = 0}, what = {.n = 0}, value = {.n = 0};
  for (int i = 0; i < rank; i++) {
    test_message d = {.n = 0};
    if (dim[i])
      test_number(&d, 1, dim[i]);
    else
      test_text(&d, 2, "N");
    test_put_message(&shape, 1, &d);
  }
  test_number(&tensor, 1, type);
  test_put_message(&tensor, 2, &shape);
  test_put_message(&what, 1, &tensor);
  test_text(&value, 1, name);
  test_put_message(&value, 2, &what);
  test_put_message(graph, field, &value);
}

void test_initializer(test_message *graph, const char *name, int32_t type, const int64_t *dim, int rank,
                      const void *data, size_t bytes) {
  test_message t = {.n = 0};
  for (int i = 0; i < rank; i++) test_number(&t, 1, dim[i]);
  test_number(&t, 2, type);
  test_text(&t, 8, name);
  if (data) test_bytes(&t, 9, data, bytes);
  test_put_message(graph, 5, &t);
}

void test_model(test_message *model, const test_message *graph, int64_t opset) {
  test_message set = {.n = 0};
  model->n = 0;
  test_number(model, 1, 8);
  test_text(model, 2, "tests");
  test_put_message(model, 7, graph);
  test_number(&set, 2, opset);
  test_put_message(model, 8, &set);
}

void test_small_model(test_message *model) {
  static const float w[] = {1, 2, 3, 4, 5, 6}, b[] = {0.5f, -100};
  test_message graph = {.n = 0};
  test_node(&graph, "MatMul", "product", "x w", "xw", NULL);
  test_node(&graph, "Add", "sum", "xw b", "z", NULL);
  test_node(&graph, "Relu", "positive", "z", "y", NULL);
  test_initializer(&graph, "w", 1, (int64_t[]){3, 2}, 2, w, sizeof w);
  test_initializer(&graph, "b", 1, (int64_t[]){2}, 1, b, sizeof b);
  test_port(&graph, 11, "x", 1, (int64_t[]){0, 3}, 2);
  test_port(&graph, 12, "y", 1, (int64_t[]){0, 2}, 2);
  test_model(model, &graph, 17);
}
