/* y = a ∘ b with NumPy broadcasting: shapes are aligned at their last axis, a dimension of 1 repeats.
 * The gradient of whatever was broadcast is summed back to its shape; that of maximum and minimum goes to a where both are
 * equal. The formulas are in binary.def. */
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

/* To b where a is less (maximum) or b is (minimum), else to a. */
static void pick_grad(rt_grad *c, rt_value *low, rt_value *high) {
  rt_cast_attr as_dy = {.dtype = (int)c->dy[0]->type.dtype};
  rt_value *to_b = rt_emit(c->graph, RT_OP(cast), NULL, &as_dy, 1, emit(c, RT_OP(less), low, high));
  rt_value *db = emit(c, RT_OP(mul), c->dy[0], to_b);
  if (c->want[0]) give(c, 0, emit(c, RT_OP(sub), c->dy[0], db));
  if (c->want[1]) give(c, 1, db);
}

static void maximum_grad(rt_grad *c) { pick_grad(c, c->node->in[0], c->node->in[1]); }
static void minimum_grad(rt_grad *c) { pick_grad(c, c->node->in[1], c->node->in[0]); }

static const char *const cases[] = {
    "x[] x[]",       "x[33] x[33]",   "x[2,3,7,5] x[2,3,7,5]", "x[2,3,7,5] x[3,1,1]",   "x[7,5] x[]",
    "x[5] x[2,1,5]", "x[4,1] x[1,6]", "x[1,3,1] x[2,1,7]",     "x[2,3,1,1] x[2,3,7,5]", NULL};
static const char *const pick_cases[] = {
    "x[] x[]", "x[34] x[34]", "x[2,3,7,5]~ x[3,1,1]", "x[7,5]~ x[]", "x[5] x[2,1,5]", "x[4,1] x[1,6]", NULL};
static const char *const div_cases[] = {
    "x[] x[]+",    "x[33] x[33]+",   "x[2,3,7,5] x[2,3,7,5]+", "x[2,3,7,5] x[3,1,1]+",
    "x[7,5] x[]+", "x[5] x[2,1,5]+", "x[4,1] x[1,6]+",         "x[1,3,1] x[2,1,7]+",
    NULL};
static const char *const errors[] = {"x[2,3] x[2,4] ; => do not broadcast", "x[2,3] x[2] ; => do not broadcast",
                                     "x[2] s64[2]<5 ; => s64", "s64[2]<5 s64[2]<5 ; => s64", NULL};

#define add_cases cases
#define sub_cases cases
#define mul_cases cases
#define maximum_cases pick_cases
#define minimum_cases pick_cases

#define add_regrids RT_OP(add_int8)
#define sub_regrids NULL
#define mul_regrids NULL
#define div_regrids NULL
#define maximum_regrids NULL
#define minimum_regrids NULL

#define BINARY(name_, formula, text) \
  static rt_status name_##_reference(const rt_call *c) { \
    rt_tensor ta = rt_view_broadcast(c->in[0], c->out), tb = rt_view_broadcast(c->in[1], c->out); \
    for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) { \
      double a = rt_get(&ta, i), b = rt_get(&tb, i); \
      rt_put(c->out, i, formula); \
    } \
    return RT_OK; \
  } \
  const rt_op rt_op_row_##name_ = { \
      .name = #name_, \
      .summary = "y = " text ", broadcasting as NumPy does", \
      .input_names = "a b", \
      .n_out = 1, \
      .infer = infer, \
      .grad = name_##_grad, \
      .reference = name_##_reference, \
      .inplace = rt_inplace_first, \
      .layout = RT_LAYOUT_FOLLOW, \
      .precision = RT_PRECISION_FOLLOW, \
      .regrids = name_##_regrids, \
      .cases = name_##_cases, \
      .errors = errors, \
  };
#include "op/binary.def"
