/* y = a ∘ b with NumPy broadcasting: shapes are aligned at their last axis, a dimension of 1 repeats.
 * The gradient of whatever was broadcast is summed back to its shape. */
#include "op/row.h"

static rt_status infer(rt_infer *c) {
  rt_status s = rt_infer_float(c, 0);
  if (s == RT_OK) s = rt_infer_same_dtype(c, 0, 1);
  c->out->dtype = c->in[0]->dtype;
  return s == RT_OK ? rt_infer_broadcast(c, c->in[0], c->in[1], c->out) : s;
}

/* d is the gradient as if input i had the output's shape. */
static void give(rt_grad *c, int i, rt_value *d) { c->dx[i] = rt_emit_sum_to(c->graph, d, c->node->in[i]); }

static rt_value *emit(rt_grad *c, const rt_op *op, rt_value *a, rt_value *b) {
  return rt_emit(c->graph, op, NULL, NULL, 2, a, b);
}

static rt_value *negative(rt_grad *c, rt_value *x) {
  return rt_emit(c->graph, RT_OP(neg), NULL, &(rt_unary_attr){0}, 1, x);
}

static void add_grad(rt_grad *c) {
  for (int i = 0; i < 2; i++)
    if (c->want[i]) give(c, i, c->dy[0]);
}

static void sub_grad(rt_grad *c) {
  if (c->want[0]) give(c, 0, c->dy[0]);
  if (!c->want[1]) return;
  give(c, 1, c->dy[0]);
  c->dx[1] = negative(c, c->dx[1]);
}

static void mul_grad(rt_grad *c) {
  for (int i = 0; i < 2; i++)
    if (c->want[i]) give(c, i, emit(c, RT_OP(mul), c->dy[0], c->node->in[1 - i]));
}

/* da = dy / b, db = -da y: the numerator need not be kept. */
static void div_grad(rt_grad *c) {
  rt_value *da = emit(c, RT_OP(div), c->dy[0], c->node->in[1]);
  if (c->want[0]) give(c, 0, da);
  if (!c->want[1]) return;
  give(c, 1, emit(c, RT_OP(mul), da, c->node->out[0]));
  c->dx[1] = negative(c, c->dx[1]);
}

static const char *const cases[] = {
    "x[] x[]",       "x[33] x[33]",   "x[2,3,7,5] x[2,3,7,5]", "x[2,3,7,5] x[3,1,1]",   "x[7,5] x[]",
    "x[5] x[2,1,5]", "x[4,1] x[1,6]", "x[1,3,1] x[2,1,7]",     "x[2,3,1,1] x[2,3,7,5]", NULL};
static const char *const div_cases[] = {
    "x[] x[]+",    "x[33] x[33]+",   "x[2,3,7,5] x[2,3,7,5]+", "x[2,3,7,5] x[3,1,1]+",
    "x[7,5] x[]+", "x[5] x[2,1,5]+", "x[4,1] x[1,6]+",         "x[1,3,1] x[2,1,7]+",
    NULL};
static const char *const errors[] = {"x[2,3] x[2,4] ; => do not broadcast", "x[2,3] x[2] ; => do not broadcast",
                                     "x[2] s64[2]<5 ; => s64", "s64[2]<5 s64[2]<5 ; => s64", NULL};

#define BINARY(name_, symbol, cases_) \
  static rt_status name_##_reference(const rt_call *c) { \
    rt_tensor a = rt_view_broadcast(c->in[0], c->out), b = rt_view_broadcast(c->in[1], c->out); \
    for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) \
      rt_put(c->out, i, rt_get(&a, i) symbol rt_get(&b, i)); \
    return RT_OK; \
  } \
  const rt_op rt_op_row_##name_ = { \
      .name = #name_, \
      .summary = "y = a " #symbol " b, broadcasting as NumPy does", \
      .input_names = "a b", \
      .n_out = 1, \
      .infer = infer, \
      .grad = name_##_grad, \
      .reference = name_##_reference, \
      .inplace = rt_inplace_first, \
      .layout = RT_LAYOUT_FOLLOW, \
      .precision = RT_PRECISION_FOLLOW, \
      .cases = cases_, \
      .errors = errors, \
  };

BINARY(add, +, cases)
BINARY(sub, -, cases)
BINARY(mul, *, cases)
BINARY(div, /, div_cases)
