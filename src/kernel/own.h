/* What our own kernels share. */
#ifndef RT_KERNEL_OWN_H
#define RT_KERNEL_OWN_H

#include "base/thread.h"
#include "kernel/kernel.h"
#include "kernel/simd.h"

enum { OWN_GRAIN = 1 << 14 }; /* elements that are worth a thread */

static inline int64_t own_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

static inline bool own_dtype(rt_dtype dtype) { return dtype == RT_F32 || dtype == RT_BF16; }

static inline void *own_at(const void *data, rt_dtype dtype, int64_t i) {
  return data ? (char *)data + i * (int64_t)rt_dtype_size(dtype) : NULL;
}

/* Memory of the type is rows×c, its channels (the second dimension) innermost: channels last, or N×C. */
static inline bool own_rows(const rt_type *t, int64_t *rows, int64_t *c) {
  if (t->rank != 2 && !(t->rank == 4 && (t->layout == RT_CHANNELS_LAST || rt_layouts_agree(t)))) return false;
  *c = t->dim[1];
  *rows = rt_type_elements(t) / *c;
  return true;
}

static inline const void *own_in(const rt_kernel_call *call, int i) {
  return i < call->site->n_in && call->in[i] ? call->in[i]->data : NULL;
}

static inline const rt_type *own_in_type(const rt_site *site, int i) { return i < site->n_in ? site->in[i] : NULL; }

static inline bool own_channels_innermost(const rt_type *t) {
  return t->layout == RT_CHANNELS_LAST || rt_layouts_agree(t);
}

/* The same elements in the same order. */
static inline bool own_alike(const rt_type *a, const rt_type *b) {
  return a->dtype == b->dtype && rt_same_shape(a, b) && (a->layout == b->layout || rt_layouts_agree(a));
}

/* ---- tiles: loops are written for floats; bf16 passes through a buffer in the nearest cache ---- */

enum { OWN_TILE = 1024 };

/* n <= OWN_TILE elements from the i-th, as floats: in place, or widened into the buffer. */
static inline const float *own_tile(const rt_simd *simd, rt_dtype dtype, const void *data, int64_t i, int64_t n,
                                    float *buffer) {
  if (dtype == RT_F32) return (const float *)data + i;
  simd->widen((const uint16_t *)data + i, buffer, n);
  return buffer;
}

/* Where a loop writes such a tile, and what puts it in its place. */
static inline float *own_tile_begin(rt_dtype dtype, void *data, int64_t i, float *buffer) {
  return dtype == RT_F32 ? (float *)data + i : buffer;
}

static inline void own_tile_end(const rt_simd *simd, rt_dtype dtype, void *data, int64_t i, int64_t n,
                                const float *tile) {
  if (dtype != RT_F32) simd->narrow(tile, (uint16_t *)data + i, n);
}

/* own_reduce.c: sums of a channels-last image's pixels (the gradient of a bias), one a channel. */
int64_t own_sum_pixels_bytes(int64_t c); /* of workspace */
void own_sum_pixels(const rt_tensor *image, const rt_tensor *sum, void *workspace);

#endif
