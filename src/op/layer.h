/* What layers, losses and optimizers share beyond row.h. For rows only. */
#ifndef RT_OP_LAYER_H
#define RT_OP_LAYER_H

#include "op/row.h"

/* An input that may be left out: NULL then. */
static inline const rt_tensor *rt_call_in(const rt_call *c, int i) { return i < c->n_in ? c->in[i] : NULL; }
static inline const rt_type *rt_infer_in(const rt_infer *c, int i) { return i < c->n_in ? c->in[i] : NULL; }
static inline rt_value *rt_node_in(const rt_node *n, int i) { return i < n->n_in ? n->in[i] : NULL; }

static inline double rt_activate(int activation, double v) { return activation == RT_ACTIVATION_RELU && v < 0 ? 0 : v; }

/* ---- infer ---- */

/* "op name: weight must be f32[4], found f32[3]" */
rt_status rt_infer_expected(const rt_infer *c, int input, const char *what);
/* Input is a scalar of any floating dtype. */
rt_status rt_infer_scalar(const rt_infer *c, int input);
/* Input, if it is there, holds a number for each index of an axis of input x, in rt_wide of x's dtype. */
rt_status rt_infer_vector(const rt_infer *c, int input, int x, int axis);
/* Input has the dimensions computed for it; those that only it knows are filled in. */
rt_status rt_infer_shape(const rt_infer *c, int input, int rank, rt_dim *dim);

typedef struct rt_window {
  rt_dim kernel;
  int64_t stride, padding, dilation;
  bool ceil;
} rt_window;

/* Number of places for a window along an axis of an input; an error where it is larger than that, padded. */
rt_status rt_infer_window(const rt_infer *c, int input, int axis, const rt_window *window, rt_dim *out);

/* ---- references ---- */

/* Lanes run along an axis; they are counted in row-major order of the other axes. */
static inline int64_t rt_lanes(const rt_tensor *t, int axis) { return rt_tensor_elements(t) / t->dim[axis]; }
/* Offset of element k of a lane. */
static inline int64_t rt_lane_at(const rt_tensor *t, int axis, int64_t lane, int64_t k) {
  rt_tensor others = rt_view_axes(t, ~(1u << axis));
  return rt_tensor_offset(&others, lane) + k * t->stride[axis];
}

/* A copy in doubles, row major, for rt_free. NULL, with the sentence set, when there is no memory. */
double *rt_dense(const rt_tensor *t);
double *rt_dense_zero(const rt_tensor *t); /* of t's shape */
void rt_dense_store(const rt_tensor *t, const double *dense);

/* y = a·b + bias: a …×M×K, b …×K×N, bias N or NULL, y …×M×N; leading dimensions broadcast to y's. */
rt_status rt_matmul_reference(const rt_tensor *a, const rt_tensor *b, const rt_tensor *bias, const rt_tensor *y);

#endif
