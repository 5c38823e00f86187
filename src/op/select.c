/* less, equal: bool of a ∘ b;  where: y = condition ? a : b;  pow: y = aᵇ. All broadcast as NumPy does.
 *   where: da = dy where the condition holds, db = dy where not;  pow: da = dy·b·y/a, db = dy·y·ln a, for a > 0 */
#include "op/row.h"

#include <math.h>

/* ---- comparisons ---- */

static rt_status infer_comparison(rt_infer *c) {
  rt_status s = rt_infer_same_dtype(c, 0, 1);
  c->out->dtype = RT_BOOL;
  return s == RT_OK ? rt_infer_broadcast(c, c->in[0], c->in[1], c->out) : s;
}

static const char *const comparisons[] = {"x[]~! x[]~!",
                                          "x[33]! x[33]!",
                                          "x[2,3,7,5]! x[3,1,1]!",
                                          "x[4,1]! x[1,6]!",
                                          "s64[2,3]<3 s64[2,3]<3",
                                          "u8[7]<3 u8[]<3",
                                          NULL};
static const char *const comparison_errors[] = {"x[2,3] x[2,4] ; => do not broadcast", "x[2] s64[2]<5 ; => s64", NULL};

#define COMPARE(name_, symbol) \
  static rt_status name_##_reference(const rt_call *c) { \
    rt_tensor a = rt_view_broadcast(c->in[0], c->out), b = rt_view_broadcast(c->in[1], c->out); \
    for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) \
      rt_put(c->out, i, rt_get(&a, i) symbol rt_get(&b, i)); \
    return RT_OK; \
  } \
  const rt_op rt_op_row_##name_ = { \
      .name = #name_, \
      .summary = "y = a " #symbol " b, a bool, broadcasting as NumPy does", \
      .input_names = "a b", \
      .n_out = 1, \
      .infer = infer_comparison, \
      .reference = name_##_reference, \
      .layout = RT_LAYOUT_FOLLOW, \
      .precision = RT_PRECISION_FOLLOW, \
      .cases = comparisons, \
      .errors = comparison_errors, \
  };

COMPARE(less, <)
COMPARE(equal, ==)

/* ---- where ---- */

static rt_status where_infer(rt_infer *c) {
  rt_type both = {0};
  rt_status s = rt_infer_same_dtype(c, 1, 2);
  if (s == RT_OK && c->in[0]->dtype != RT_BOOL)
    s = rt_infer_fail(c, "condition must be bool, found %s", rt_dtype_name(c->in[0]->dtype));
  if (s == RT_OK) s = rt_infer_broadcast(c, c->in[1], c->in[2], &both);
  c->out->dtype = c->in[1]->dtype;
  return s == RT_OK ? rt_infer_broadcast(c, c->in[0], &both, c->out) : s;
}

static void where_grad(rt_grad *c) {
  rt_value *const *in = c->node->in, *dy = c->dy[0];
  rt_cast_attr as_dy = {.dtype = (int)dy->type.dtype};
  rt_value *holds = rt_emit(c->graph, RT_OP(cast), NULL, &as_dy, 1, in[0]);
  rt_value *da = rt_emit(c->graph, RT_OP(mul), NULL, NULL, 2, dy, holds);
  if (c->want[1]) c->dx[1] = rt_emit_sum_to(c->graph, da, in[1]);
  if (c->want[2]) c->dx[2] = rt_emit_sum_to(c->graph, rt_emit(c->graph, RT_OP(sub), NULL, NULL, 2, dy, da), in[2]);
}

static rt_status where_reference(const rt_call *c) {
  rt_tensor condition = rt_view_broadcast(c->in[0], c->out);
  rt_tensor a = rt_view_broadcast(c->in[1], c->out), b = rt_view_broadcast(c->in[2], c->out);
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++)
    rt_move(rt_get(&condition, i) != 0 ? &a : &b, i, c->out, i);
  return RT_OK;
}

static const char *const where_cases[] = {"bool[33]<2 x[33] x[33]",
                                          "bool[]<2 x[3,5] x[3,5]",
                                          "bool[2,3,7,5]<2 x[3,1,1] x[5]",
                                          "bool[4,1]<2 x[] x[1,6]",
                                          "bool[7]<2 s64[7]<9 s64[7]<9",
                                          "bool[2,1,3]<2 x[2,4,3] x[1,4,1]",
                                          NULL};
static const char *const where_errors[] = {"x[3] x[3] x[3] ; => condition must be bool",
                                           "bool[3]<2 x[3] x[4] ; => do not broadcast",
                                           "bool[2]<2 x[3] x[3] ; => do not broadcast", NULL};

const rt_op rt_op_row_where = {
    .name = "where",
    .summary = "y = a where the condition holds, b where not, broadcasting as NumPy does",
    .input_names = "condition a b",
    .n_out = 1,
    .infer = where_infer,
    .grad = where_grad,
    .reference = where_reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_F32,
    .cases = where_cases,
    .errors = where_errors,
};

/* ---- pow ---- */

static rt_status pow_infer(rt_infer *c) {
  rt_status s = rt_infer_float(c, 0);
  if (s == RT_OK) s = rt_infer_same_dtype(c, 0, 1);
  c->out->dtype = c->in[0]->dtype;
  return s == RT_OK ? rt_infer_broadcast(c, c->in[0], c->in[1], c->out) : s;
}

static rt_value *times(rt_grad *c, rt_value *a, rt_value *b) {
  return rt_emit(c->graph, RT_OP(mul), NULL, NULL, 2, a, b);
}

static void pow_grad(rt_grad *c) {
  rt_value *a = c->node->in[0], *b = c->node->in[1], *dy = times(c, c->dy[0], c->node->out[0]);
  if (c->want[0])
    c->dx[0] = rt_emit_sum_to(c->graph, rt_emit(c->graph, RT_OP(div), NULL, NULL, 2, times(c, dy, b), a), a);
  if (c->want[1])
    c->dx[1] =
        rt_emit_sum_to(c->graph, times(c, dy, rt_emit(c->graph, RT_OP(log), NULL, &(rt_unary_attr){0}, 1, a)), b);
}

static rt_status pow_reference(const rt_call *c) {
  rt_tensor a = rt_view_broadcast(c->in[0], c->out), b = rt_view_broadcast(c->in[1], c->out);
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) rt_put(c->out, i, pow(rt_get(&a, i), rt_get(&b, i)));
  return RT_OK;
}

static const char *const pow_cases[] = {"x[33]+ x[33]", "x[2,3,7,5]+ x[]", "x[4,1]+ x[1,6]", "x[]+ x[]", NULL};
static const char *const pow_errors[] = {"x[2,3] x[2,4] ; => do not broadcast", "x[2] s64[2]<5 ; => s64", NULL};

const rt_op rt_op_row_pow = {
    .name = "pow",
    .summary = "y = a to the power of b, broadcasting as NumPy does; its gradient is for a > 0",
    .input_names = "a b",
    .n_out = 1,
    .infer = pow_infer,
    .grad = pow_grad,
    .reference = pow_reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_F32,
    .cases = pow_cases,
    .errors = pow_errors,
};
