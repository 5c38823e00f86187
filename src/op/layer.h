/* What layers, losses and optimizers share beyond row.h. For rows only. */
#ifndef RT_OP_LAYER_H
#define RT_OP_LAYER_H

#include "op/row.h"

/* An input that may be left out: NULL then. */
static inline const rt_tensor *rt_call_in(const rt_call *c, int i) { return i < c->n_in ? c->in[i] : NULL; }
static inline const rt_type *rt_infer_in(const rt_infer *c, int i) { return i < c->n_in ? c->in[i] : NULL; }
static inline rt_value *rt_node_in(const rt_node *n, int i) { return i < n->n_in ? n->in[i] : NULL; }

static inline double rt_activate(int activation, double v) { return activation == RT_ACTIVATION_RELU && v < 0 ? 0 : v; }

/* Of structs that begin with an rt_int8_attr. */
#define RT_INT8_FIELD(name) offsetof(rt_int8_attr, name)
#define RT_INT8_OPTIONS \
  {"residual_scale", RT_OPT_FLOAT, RT_INT8_FIELD(residual_scale), "1", -3e38, 3e38, .help = "factor of the residual"}, \
      {"high", RT_OPT_INT, RT_INT8_FIELD(high), "255", 1, 255, .help = "the highest level of the result"}, \
      {"x_high", RT_OPT_INT, RT_INT8_FIELD(x_high), "255", 1, 255, .help = "the highest level of x"}, { \
    "f32", RT_OPT_BOOL, RT_INT8_FIELD(f32), "false", .help = "the result isn't quantized" \
  }

/* What becomes of a sum of products: see rt_int8_attr. In f32, one operation after another. */
static inline double rt_int8_result(const rt_int8_attr *a, double acc, float scale, float bias, float residual,
                                    bool relu) {
  float v = (float)acc * scale + bias;
  v += (float)a->residual_scale * residual;
  if (relu && v < 0) v = 0;
  if (a->f32) return (double)v;
  v = __builtin_nearbyintf(v);
  return v < 0 ? 0 : v > (float)a->high ? (double)a->high : (double)v;
}

/* Of structs that begin with an rt_regrid_attr. */
#define RT_REGRID_FIELD(name) offsetof(rt_regrid_attr, name)
#define RT_REGRID_OPTIONS \
  {"scale", RT_OPT_FLOAT, RT_REGRID_FIELD(scale[0]), "1", 0, 3e38, .help = "levels of y that a level of x is worth"}, \
      {"from", RT_OPT_INT, RT_REGRID_FIELD(from[0]), "0", 0, 255, .help = "the level of 0 in x"}, \
      {"zero_point", RT_OPT_INT, RT_REGRID_FIELD(zero_point), "0", 0, 255, .help = "the level of 0 in y"}, { \
    "high", RT_OPT_INT, RT_REGRID_FIELD(high), "255", 1, 255, .help = "the highest level of y" \
  }

/* The level of v steps from 0. */
static inline double rt_regrid_level(const rt_regrid_attr *a, float v) {
  double q = (double)__builtin_nearbyintf(v) + (double)a->zero_point;
  return q < 0 ? 0 : q > (double)a->high ? (double)a->high : q;
}

/* Of a mean over `count`: what a level of the sum is worth in levels of the result. */
static inline float rt_mean_step(const rt_regrid_attr *a, int64_t count) { return (float)a->scale[0] / (float)count; }

/* ---- infer ---- */

/* Inputs x (u8), weight (s8) and scale and bias, numbers for each filter. */
rt_status rt_infer_int8(const rt_infer *c);

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
