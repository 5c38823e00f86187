/* Data types, shapes, and strided views of memory. */
#ifndef RT_TENSOR_TENSOR_H
#define RT_TENSOR_TENSOR_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { RT_MAX_RANK = 8 };
#define RT_MOST_BYTES ((int64_t)1 << 56)

size_t rt_dtype_size(rt_dtype dtype);
bool rt_dtype_is_float(rt_dtype dtype);

/* How the elements of a value lie in memory. The logical shape never changes with it. */
typedef enum rt_layout {
  RT_ROW_MAJOR,
  RT_CHANNELS_LAST, /* rank 4 only: N, H, W, C in memory */
} rt_layout;

/* What is known of a value before there is memory for it. A dimension below 0 is a symbol of the graph. */
typedef struct rt_type {
  rt_dtype dtype;
  rt_layout layout;
  int rank;
  rt_dim dim[RT_MAX_RANK];
} rt_type;

/* A view: logical shape, strides in elements, and somebody else's memory. */
typedef struct rt_tensor {
  rt_dtype dtype;
  int rank;
  int64_t dim[RT_MAX_RANK], stride[RT_MAX_RANK];
  void *data;
} rt_tensor;

rt_type rt_type_of(rt_dtype dtype, int rank, const rt_dim *dim);
bool rt_type_bound(const rt_type *type);                /* no symbols left */
bool rt_same_shape(const rt_type *a, const rt_type *b); /* the same dimensions, symbols included */
/* Elements or bytes of a bound type; -1 when it overflows, or is more bytes than can be addressed. */
int64_t rt_type_elements(const rt_type *type);
int64_t rt_type_bytes(const rt_type *type);
/* Could it be, whatever its symbols turn out to be? A number of these is far from where arithmetic on it overflows. */
bool rt_type_addressable(const rt_type *type);
/* Row major and channels last are the same memory order (C == 1, or H == W == 1, or rank != 4). */
bool rt_layouts_agree(const rt_type *type);

rt_tensor rt_tensor_view(const rt_type *type, void *data);
int64_t rt_tensor_elements(const rt_tensor *t);
bool rt_tensor_is_row_major(const rt_tensor *t);
/* Elements lie without gaps in the order of some permutation, the same for both: elementwise loops may run flat. */
bool rt_tensors_flat(const rt_tensor *a, const rt_tensor *b);

/* Offset in elements of the i-th element in row-major logical order. */
int64_t rt_tensor_offset(const rt_tensor *t, int64_t i);
static inline int64_t rt_at2(const rt_tensor *t, int64_t a, int64_t b) { return a * t->stride[0] + b * t->stride[1]; }
static inline int64_t rt_at4(const rt_tensor *t, int64_t n, int64_t c, int64_t h, int64_t w) {
  return n * t->stride[0] + c * t->stride[1] + h * t->stride[2] + w * t->stride[3];
}

/* One element as a double, whatever the dtype; s64 beyond 2^53 loses digits. Stores round to nearest even. */
double rt_load(const rt_tensor *t, int64_t offset);
void rt_store_at(const rt_tensor *t, int64_t offset, double value);
int64_t rt_load_int(const rt_tensor *t, int64_t offset);

static inline float rt_bf16_to_f32(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

static inline uint16_t rt_f32_to_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40u); /* quiet NaN */
  return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1u)) >> 16);
}

float rt_f16_to_f32(uint16_t h);
uint16_t rt_f32_to_f16(float f);

#endif
