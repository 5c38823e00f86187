/* What several rows share: views of views, copies, reductions, broadcasting. For rows only. */
#ifndef RT_OP_ROW_H
#define RT_OP_ROW_H

#include "op/op.h"

/* ---- elements, by their place i in row-major logical order, whatever the strides ---- */

static inline double rt_get(const rt_tensor *t, int64_t i) { return rt_load(t, rt_tensor_offset(t, i)); }
static inline void rt_put(const rt_tensor *t, int64_t i, double v) { rt_store_at(t, rt_tensor_offset(t, i), v); }
/* to[j] = from[i], both of one dtype: exact for s64, too. */
void rt_move(const rt_tensor *from, int64_t i, const rt_tensor *to, int64_t j);
/* Element by element in logical order, converting: dimensions may differ, numbers of elements not. */
void rt_copy(const rt_tensor *from, const rt_tensor *to);
void rt_fill(const rt_tensor *t, double value);

/* A value that a run found out of range: "op name: sentence". */
rt_status rt_call_fail(const rt_call *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- the same memory seen under another shape ---- */

rt_tensor rt_view_slice(const rt_tensor *t, int axis, int64_t start, int64_t count, int64_t step);
/* NumPy broadcasting: the shape of `to`, stride 0 where an element of x repeats. */
rt_tensor rt_view_broadcast(const rt_tensor *x, const rt_tensor *to);
/* Only the axes of the mask; the others have dimension 1. With its complement it splits the offset of an element:
 * offset(t, …) = offset(kept, i) + offset(reduced, j). */
rt_tensor rt_view_axes(const rt_tensor *t, unsigned mask);
/* y[i] = scale * sum of x over the axes of the mask; y has the other axes' elements in order, under any shape. */
void rt_sum_axes(const rt_tensor *x, unsigned mask, double scale, const rt_tensor *y);

/* ---- axes, after infer has accepted them ---- */

static inline int rt_axis(int64_t axis, int rank) { return (int)(axis < 0 ? axis + rank : axis); }
unsigned rt_axes_mask(const rt_ints *axes, int rank); /* bit per axis; an empty list means all */

/* ---- infer ---- */

/* Axes are valid, and none is named twice. */
rt_status rt_infer_axes(const rt_infer *c, const rt_ints *axes, int rank, unsigned *mask);
rt_status rt_infer_index(const rt_infer *c, int input); /* input i is s64 or s32 */
/* out: rank and dimensions of a and b broadcast to each other. */
rt_status rt_infer_broadcast(const rt_infer *c, const rt_type *a, const rt_type *b, rt_type *out);
/* The number, where one of two dimensions that must be equal is known. */
static inline rt_dim rt_dim_known(rt_dim a, rt_dim b) { return a >= 0 ? a : b; }
/* Statistics, losses and parameter gradients are f32, unless everything is f64. */
static inline rt_dtype rt_wide(rt_dtype dtype) { return dtype == RT_F64 ? RT_F64 : RT_F32; }
rt_type rt_reduced_type(const rt_type *t, unsigned mask, bool keepdim);

/* ---- grad ---- */

/* The gradient of something that was broadcast: g summed down to the shape of `like`, or g itself where they agree. */
rt_value *rt_emit_sum_to(rt_graph *graph, rt_value *g, rt_value *like);

/* ---- for rows ---- */

int rt_inplace_first(int n_in, int out); /* output 0 may take over input 0 */
double rt_flops_none(const rt_type *const *in, const rt_type *out, const void *attr);
/* One per element of input 0. */
double rt_flops_first(const rt_type *const *in, const rt_type *out, const void *attr);

#endif
