/* y = f(x), element by element, and NAME_backward(dy, s): dx = dy f'(s). The formulas are in unary.def. */
#include "op/row.h"

#include <math.h>

typedef double formula(double v, double alpha);
enum { X, Y }; /* what the gradient reads */

#define K(c) ((double)(c))
#define EXP exp
#define TANH tanh
#define ERF erf
#define LOG log
#define SQRT sqrt
#define MAX(a, b) ((b) > (a) ? (b) : (a))
#define MIN(a, b) ((b) < (a) ? (b) : (a))
#define UNARY(name, saved, forward, derivative) \
  enum { name##_saved = saved }; \
  static double name##_value(double x, double alpha) { \
    (void)alpha; \
    return forward; \
  } \
  __attribute__((unused)) static double name##_slope(double s, double alpha) { \
    (void)alpha, (void)s; \
    return derivative; \
  }
#include "op/unary.def"

static const rt_option leaky[] = {
    {"alpha", RT_OPT_FLOAT, offsetof(rt_unary_attr, alpha), .fallback = "0.01", .max = 1e18, .help = "slope below 0"},
    {0}};

static const rt_option approximate[] = {{"approximate", RT_OPT_CHOICE, offsetof(rt_unary_attr, approximate),
                                         .fallback = "none", .choices = "none|tanh", .help = "tanh: the older formula"},
                                        {0}};

static rt_status infer(rt_infer *c) {
  c->out[0] = *c->in[0];
  return rt_infer_float(c, 0);
}

static rt_status infer_backward(rt_infer *c) {
  rt_status s = rt_infer_float(c, 0);
  if (s == RT_OK) s = rt_infer_same_dtype(c, 0, 1);
  if (s == RT_OK) s = rt_infer_same_shape(c, 0, 1);
  c->out[0] = *c->in[0];
  for (int d = 0; s == RT_OK && d < c->out->rank; d++)
    c->out->dim[d] = rt_dim_known(c->in[0]->dim[d], c->in[1]->dim[d]);
  return s;
}

static void grad(rt_grad *c, const rt_op *backward, int saved) {
  rt_value *s = saved == X ? c->node->in[0] : c->node->out[0];
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, backward, NULL, c->node->attr, 2, c->dy[0], s);
}

/* Only gelu has a second formula. */
static formula *choose(const rt_call *c, formula *plain, formula *of_tanh) {
  return ((const rt_unary_attr *)c->attr)->approximate ? of_tanh : plain;
}

static rt_status reference(const rt_call *c, formula *f) {
  const rt_unary_attr *attr = c->attr;
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++)
    rt_put(c->out, i, f(rt_get(c->in[0], i), attr->alpha));
  return RT_OK;
}

static rt_status reference_backward(const rt_call *c, formula *slope) {
  const rt_unary_attr *attr = c->attr;
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++)
    rt_put(c->out, i, rt_get(c->in[0], i) * slope(rt_get(c->in[1], i), attr->alpha));
  return RT_OK;
}

/* Kinks at 0 want `~`; logarithm and root want positive values; [0, 9) passes the upper kinks at 3 and 6. */
static const char *const smooth[] = {"x[]", "x[1,1]", "x[33]", "x[2,3,7,5]", "x[1,4,1,2,3]", NULL};
static const char *const gelus[] = {
    "x[]", "x[33]", "x[2,3,7,5]", "x[33] ; approximate=tanh", "x[1,4,7,5] ; approximate=tanh", NULL};
static const char *const kinked[] = {"x[]~", "x[1,1]~", "x[33]~", "x[2,3,7,5]~", "x[3,17]<9", NULL};
static const char *const leaks[] = {"x[]~", "x[33]~", "x[2,3,7,5]~", "x[3,17]~ ; alpha=0.2", "x[5,1]~ ; alpha=0", NULL};
static const char *const positive[] = {"x[]+", "x[1,1]+", "x[33]+", "x[2,3,7,5]+", NULL};
static const char *const smooth_backward[] = {"x[] x[]", "x[33] x[33]", "x[2,3,7,5] x[2,3,7,5]", "x[3,17] x[3,17]<9",
                                              NULL};
static const char *const gelus_backward[] = {"x[33] x[33]", "x[2,3,7,5] x[2,3,7,5]", "x[33] x[33] ; approximate=tanh",
                                             NULL};
static const char *const kinked_backward[] = {"x[] x[]~", "x[33] x[33]~", "x[2,3,7,5] x[2,3,7,5]~", "x[3,17] x[3,17]<9",
                                              NULL};
static const char *const leaks_backward[] = {"x[33] x[33]~", "x[2,3,7,5] x[2,3,7,5]~ ; alpha=0.2", NULL};
static const char *const positive_backward[] = {"x[] x[]+", "x[33] x[33]+", "x[2,3,7,5] x[2,3,7,5]+", NULL};
static const char *const errors[] = {"s64[3]<5 ; => s64", NULL};
static const char *const leaks_errors[] = {"s64[3]<5 ; => s64", "x[3] ; alpha=-1 => at least 0",
                                           "x[3] ; slope=1 => slope", NULL};
static const char *const errors_backward[] = {"x[3] x[4] ; => 4", "x[3] x[3,1] ; => [3, 1]",
                                              "s64[3]<5 s64[3]<5 ; => s64", NULL};

#define FORWARD(name_, formula_, options_, cases_, errors_) \
  static rt_status name_##_reference(const rt_call *c) { \
    return reference(c, choose(c, name_##_value, gelu_tanh_value)); \
  } \
  const rt_op rt_op_row_##name_ = { \
      .name = #name_, \
      .summary = "y = " formula_, \
      .input_names = "x", \
      .options = options_, \
      .attr_size = sizeof(rt_unary_attr), \
      .n_out = 1, \
      .infer = infer, \
      .grad = name_##_grad, \
      .reference = name_##_reference, \
      .inplace = rt_inplace_first, \
      .layout = RT_LAYOUT_FOLLOW, \
      .precision = RT_PRECISION_FOLLOW, \
      .cases = cases_, \
      .errors = errors_, \
  };

#define BACKWARD(name_, formula_, options_, cases_) \
  static void name_##_grad(rt_grad *c) { grad(c, RT_OP(name_##_backward), name_##_saved); } \
  static rt_status name_##_reference_backward(const rt_call *c) { \
    return reference_backward(c, choose(c, name_##_slope, gelu_tanh_slope)); \
  } \
  const rt_op rt_op_row_##name_##_backward = { \
      .name = #name_ "_backward", \
      .summary = "dx = dy f'(s), f = " formula_, \
      .input_names = "dy s", \
      .options = options_, \
      .attr_size = sizeof(rt_unary_attr), \
      .n_out = 1, \
      .infer = infer_backward, \
      .reference = name_##_reference_backward, \
      .inplace = rt_inplace_first, \
      .layout = RT_LAYOUT_FOLLOW, \
      .precision = RT_PRECISION_FOLLOW, \
      .cases = cases_##_backward, \
      .errors = errors_backward, \
  };

#define PAIR(name, formula, options, cases, errors) \
  BACKWARD(name, formula, options, cases) FORWARD(name, formula, options, cases, errors)

static void neg_grad(rt_grad *c) {
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, RT_OP(neg), NULL, c->node->attr, 1, c->dy[0]);
}

PAIR(relu, "max(x, 0)", NULL, kinked, errors)
PAIR(relu6, "min(max(x, 0), 6)", NULL, kinked, errors)
PAIR(leaky_relu, "x > 0 ? x : alpha x", leaky, leaks, leaks_errors)
PAIR(gelu, "x P(t < x), t normal (Hendrycks, Gimpel 2016)", approximate, gelus, errors)
PAIR(silu, "x sigmoid(x)", NULL, smooth, errors)
PAIR(sigmoid, "1 / (1 + exp(-x))", NULL, smooth, errors)
PAIR(tanh, "tanh(x)", NULL, smooth, errors)
PAIR(hardswish, "x relu6(x + 3) / 6 (Howard et al. 2019)", NULL, kinked, errors)
PAIR(hardsigmoid, "relu6(x + 3) / 6", NULL, kinked, errors)
FORWARD(neg, "-x", NULL, smooth, errors)
PAIR(exp, "exp(x)", NULL, smooth, errors)
PAIR(log, "ln(x)", NULL, positive, errors)
PAIR(sqrt, "sqrt(x)", NULL, positive, errors)
PAIR(square, "x^2", NULL, smooth, errors)
PAIR(erf, "the error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x", NULL, smooth, errors)
PAIR(abs, "|x|", NULL, kinked, errors)
