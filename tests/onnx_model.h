/* ONNX models for tests, put together field by field on the wire, so that they can also be wrong. */
#ifndef RT_TESTS_ONNX_MODEL_H
#define RT_TESTS_ONNX_MODEL_H

#include <stddef.h>
#include <stdint.h>

enum { TEST_MESSAGE_MOST = 1 << 15 };

typedef struct test_message {
  unsigned char bytes[TEST_MESSAGE_MOST];
  size_t n;
} test_message;

void test_number(test_message *m, int field, int64_t value);
void test_float(test_message *m, int field, float value);
void test_text(test_message *m, int field, const char *text);
void test_bytes(test_message *m, int field, const void *bytes, size_t n);
void test_put_message(test_message *m, int field, const test_message *inner);

/* A graph is a list of such; in the end a model of it. Lists of names are separated by spaces; "-" is a name left out. */
void test_node(test_message *graph, const char *op, const char *name, const char *inputs, const char *outputs,
               const test_message *attributes);
void test_attribute_ints(test_message *attributes, const char *name, const int64_t *v, int n);
void test_attribute_int(test_message *attributes, const char *name, int64_t v);
/* Inputs (field 11) and outputs (12); a dimension of 0 is the symbol "N". */
void test_port(test_message *graph, int field, const char *name, int32_t type, const int64_t *dim, int rank);
/* An initializer with raw data. */
void test_initializer(test_message *graph, const char *name, int32_t type, const int64_t *dim, int rank,
                      const void *data, size_t bytes);
void test_model(test_message *model, const test_message *graph, int64_t opset);

/* x[N, 3] to y = relu(x·w + b), w [3, 2]: one of everything that matters. */
void test_small_model(test_message *model);

#endif
