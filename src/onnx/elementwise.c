/* Functions of one tensor, element by element. */
#include "onnx/export.h"
#include "onnx/import.h"

#include <math.h>

static const rt_unary_attr plain;

static void unary(rt_onnx_import *c, const rt_op *op) {
  rt_value *x = rt_onnx_in(c, 0);
  if (x) rt_onnx_give(c, 0, rt_onnx_unary(c, op, x));
}

#define UNARY(name, op) \
  static void import_##name(rt_onnx_import *c) { unary(c, RT_OP(op)); } \
  static void export_##name(rt_onnx_export *e) { rt_onnx_put(e, #name, rt_onnx_in_name(e, 0), NULL); } \
  const rt_onnx_row rt_onnx_row_##name = {#name, import_##name, RT_OP(op), export_##name};

UNARY(Relu, relu)
UNARY(Sigmoid, sigmoid)
UNARY(Tanh, tanh)
UNARY(Exp, exp)
UNARY(Log, log)
UNARY(Sqrt, sqrt)
UNARY(HardSwish, hardswish)
UNARY(Erf, erf)
UNARY(Abs, abs)

/* Counts of axes are negated. */
static void import_neg(rt_onnx_import *c) {
  const rt_known *k = rt_onnx_known_in(c, 0);
  rt_value *x = k ? NULL : rt_onnx_in(c, 0);
  if (x) rt_onnx_give(c, 0, rt_onnx_unary(c, RT_OP(neg), x));
  rt_known *y = k ? rt_known_new(c, k->dtype, k->rank, k->dim) : NULL;
  for (int64_t i = 0; y && i < y->n; i++) {
    if (k->v[i].symbol || k->v[i].v == INT64_MIN) rt_onnx_cant(c, "of a size that isn't known before it runs");
    y->v[i].v = c->refuses ? 0 : -k->v[i].v;
  }
  if (y) rt_onnx_give_known(c, 0, y);
}

static void export_neg(rt_onnx_export *e) { rt_onnx_put(e, "Neg", rt_onnx_in_name(e, 0), NULL); }
const rt_onnx_row rt_onnx_row_Neg = {"Neg", import_neg, RT_OP(neg), export_neg};

static rt_value *number(rt_onnx_import *c, double v) { return rt_scalar(c->g, v); }

static rt_value *apply(rt_onnx_import *c, const rt_op *op, rt_value *a, rt_value *b) {
  return rt_onnx_emit(c, op, NULL, 2, a, b);
}

static void import_leaky_relu(rt_onnx_import *c) {
  double alpha = rt_onnx_float(c, "alpha", 0.01);
  rt_unary_attr attr = {.alpha = alpha};
  rt_value *x = rt_onnx_in(c, 0);
  if (x && alpha >= 0) {
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(leaky_relu), &attr, 1, x));
  } else if (x) { /* relu(x) - alpha relu(-x) */
    rt_value *below = rt_onnx_emit(c, RT_OP(relu), &plain, 1, rt_onnx_emit(c, RT_OP(neg), &plain, 1, x));
    rt_value *above = rt_onnx_emit(c, RT_OP(relu), &plain, 1, x);
    rt_onnx_give(c, 0, apply(c, RT_OP(sub), above, apply(c, RT_OP(mul), below, number(c, alpha))));
  }
}

/* relu(x) - slope·relu(-x) */
static void import_prelu(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0), *slope = rt_onnx_in(c, 1);
  if (!x || !slope) return;
  rt_value *below = rt_onnx_emit(c, RT_OP(relu), &plain, 1, rt_onnx_emit(c, RT_OP(neg), &plain, 1, x));
  rt_value *above = rt_onnx_emit(c, RT_OP(relu), &plain, 1, x);
  rt_onnx_give(c, 0, apply(c, RT_OP(sub), above, apply(c, RT_OP(mul), below, slope)));
}

static void import_hard_sigmoid(rt_onnx_import *c) {
  double alpha = rt_onnx_float(c, "alpha", 0.2), beta = rt_onnx_float(c, "beta", 0.5);
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  /* relu6(x + 3)/6 where alpha is 1/6; else relu6(6·alpha·x + 6·beta)/6 */
  if (fabs(alpha - 1.0 / 6) < 1e-6 && beta == 0.5) {
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(hardsigmoid), &plain, 1, x));
    return;
  }
  rt_value *y = apply(c, RT_OP(add), apply(c, RT_OP(mul), x, number(c, 6 * alpha)), number(c, 6 * beta));
  y = rt_onnx_emit(c, RT_OP(relu6), &plain, 1, y);
  rt_onnx_give(c, 0, apply(c, RT_OP(mul), y, number(c, 1.0 / 6)));
}

static void import_gelu(rt_onnx_import *c) {
  rt_unary_attr attr = {.approximate = rt_onnx_word(c, "approximate", "none", "tanh")};
  rt_value *x = rt_onnx_in(c, 0);
  if (x) rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(gelu), &attr, 1, x));
}

static void import_reciprocal(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0);
  if (x) rt_onnx_give(c, 0, apply(c, RT_OP(div), number(c, 1), x));
}

/* ln(1 + eˣ) = relu(x) + ln(1 + e^−|x|) */
static void import_softplus(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  rt_value *above = rt_onnx_emit(c, RT_OP(relu), &plain, 1, x);
  rt_value *below = rt_onnx_emit(c, RT_OP(relu), &plain, 1, rt_onnx_emit(c, RT_OP(neg), &plain, 1, x));
  rt_value *away = rt_onnx_emit(c, RT_OP(neg), &plain, 1, apply(c, RT_OP(add), above, below));
  rt_value *rest = apply(c, RT_OP(add), rt_onnx_emit(c, RT_OP(exp), &plain, 1, away), number(c, 1));
  rt_onnx_give(c, 0, apply(c, RT_OP(add), above, rt_onnx_emit(c, RT_OP(log), &plain, 1, rest)));
}

/* ---- and back ---- */

static const char *real(rt_onnx_export *e, double v) {
  float f = (float)v;
  return rt_onnx_floats(e, &f, 1, 0);
}

static void export_leaky_relu(rt_onnx_export *e) {
  rt_onnx_put(e, "LeakyRelu", rt_onnx_in_name(e, 0), NULL);
  rt_onnx_set_float(e, rt_onnx_last(e), "alpha", ((const rt_unary_attr *)e->node->attr)->alpha);
}

static void export_hard_sigmoid(rt_onnx_export *e) {
  rt_onnx_put(e, "HardSigmoid", rt_onnx_in_name(e, 0), NULL);
  rt_onnx_set_float(e, rt_onnx_last(e), "alpha", 1.0 / 6);
  rt_onnx_set_float(e, rt_onnx_last(e), "beta", 0.5);
}

/* ½·x·(1 + erf(x/√2)), or ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))): theirs is from opset 20 on. */
static void export_gelu(rt_onnx_export *e) {
  const char *x = rt_onnx_in_name(e, 0), *inner;
  if (((const rt_unary_attr *)e->node->attr)->approximate) {
    const char *cube = rt_onnx_via(e, "Mul", rt_onnx_via(e, "Mul", x, x, NULL), x, NULL);
    inner = rt_onnx_via(e, "Add", x, rt_onnx_via(e, "Mul", cube, real(e, 0.044715), NULL), NULL);
    inner = rt_onnx_via(e, "Tanh", rt_onnx_via(e, "Mul", inner, real(e, 0.79788456080286536), NULL), NULL);
  } else {
    inner = rt_onnx_via(e, "Erf", rt_onnx_via(e, "Mul", x, real(e, 0.70710678118654752), NULL), NULL);
  }
  const char *twice = rt_onnx_via(e, "Mul", x, rt_onnx_via(e, "Add", inner, real(e, 1), NULL), NULL);
  rt_onnx_put(e, "Mul", twice, real(e, 0.5), NULL);
}

static void export_silu(rt_onnx_export *e) {
  const char *x = rt_onnx_in_name(e, 0);
  rt_onnx_put(e, "Mul", x, rt_onnx_via(e, "Sigmoid", x, NULL), NULL);
}

static void export_square(rt_onnx_export *e) {
  rt_onnx_put(e, "Mul", rt_onnx_in_name(e, 0), rt_onnx_in_name(e, 0), NULL);
}

static void export_relu6(rt_onnx_export *e) {
  rt_onnx_put(e, "Clip", rt_onnx_in_name(e, 0), real(e, 0), real(e, 6), NULL);
}

const rt_onnx_row rt_onnx_row_silu = {NULL, NULL, RT_OP(silu), export_silu};
const rt_onnx_row rt_onnx_row_square = {NULL, NULL, RT_OP(square), export_square};
const rt_onnx_row rt_onnx_row_LeakyRelu = {"LeakyRelu", import_leaky_relu, RT_OP(leaky_relu), export_leaky_relu};
const rt_onnx_row rt_onnx_row_PRelu = {"PRelu", import_prelu};
const rt_onnx_row rt_onnx_row_HardSigmoid = {"HardSigmoid", import_hard_sigmoid, RT_OP(hardsigmoid),
                                             export_hard_sigmoid};
const rt_onnx_row rt_onnx_row_Gelu = {"Gelu", import_gelu, RT_OP(gelu), export_gelu};
const rt_onnx_row rt_onnx_row_Reciprocal = {"Reciprocal", import_reciprocal};
const rt_onnx_row rt_onnx_row_Softplus = {"Softplus", import_softplus};

/* relu(x) - factor·relu(1 - e^(x/scale)): what of x is below 0 bends towards -factor. */
static void bent(rt_onnx_import *c, double factor, double scale, double gain) {
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  rt_value *e = rt_onnx_emit(c, RT_OP(exp), &plain, 1, scale == 1 ? x : apply(c, RT_OP(mul), x, number(c, 1 / scale)));
  rt_value *below = rt_onnx_emit(c, RT_OP(relu), &plain, 1, apply(c, RT_OP(sub), number(c, 1), e));
  rt_value *above = rt_onnx_emit(c, RT_OP(relu), &plain, 1, x);
  rt_value *y = apply(c, RT_OP(sub), above, apply(c, RT_OP(mul), below, number(c, factor)));
  rt_onnx_give(c, 0, gain == 1 ? y : apply(c, RT_OP(mul), y, number(c, gain)));
}

static void import_elu(rt_onnx_import *c) { bent(c, rt_onnx_float(c, "alpha", 1), 1, 1); }
static void import_celu(rt_onnx_import *c) { bent(c, rt_onnx_float(c, "alpha", 1), rt_onnx_float(c, "alpha", 1), 1); }
static void import_selu(rt_onnx_import *c) {
  bent(c, rt_onnx_float(c, "alpha", 1.67326319217681884765625), 1,
       rt_onnx_float(c, "gamma", 1.05070102214813232421875));
}

const rt_onnx_row rt_onnx_row_Elu = {"Elu", import_elu};
const rt_onnx_row rt_onnx_row_Celu = {"Celu", import_celu};
const rt_onnx_row rt_onnx_row_Selu = {"Selu", import_selu};

/* ---- bounds ---- */

/* A bound that is an attribute before opset 11, an input from then on. False: it is computed, or refused. */
static bool bound(rt_onnx_import *c, const char *name, int input, double fallback, double *out) {
  *out = rt_onnx_float(c, name, fallback);
  return !rt_onnx_given(c, input) || rt_onnx_floats_in(c, input, out, 1) == 1;
}

static void import_clip(rt_onnx_import *c) {
  double low, high;
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  bool has_low = rt_onnx_given(c, 1) || rt_onnx_attribute_of(c, "min");
  bool has_high = rt_onnx_given(c, 2) || rt_onnx_attribute_of(c, "max");
  bool low_known = bound(c, "min", 1, -INFINITY, &low), high_known = bound(c, "max", 2, INFINITY, &high);
  has_low = has_low && !(low_known && low <= -3e38);
  has_high = has_high && !(high_known && high >= 3e38);
  if (has_low && low_known && low == 0 && rt_dtype_is_float(x->type.dtype) &&
      (!has_high || (high_known && high == 6))) {
    rt_onnx_give(c, 0, rt_onnx_emit(c, has_high ? RT_OP(relu6) : RT_OP(relu), &plain, 1, x));
    return;
  }
  if (has_low) x = rt_onnx_binary(c, RT_OP(maximum), x, low_known ? number(c, low) : rt_onnx_in(c, 1));
  if (has_high) x = rt_onnx_binary(c, RT_OP(minimum), x, high_known ? number(c, high) : rt_onnx_in(c, 2));
  rt_onnx_give(c, 0, x);
}

const rt_onnx_row rt_onnx_row_Clip = {"Clip", import_clip, RT_OP(relu6), export_relu6};

/* ---- the same under another name or type ---- */

static void import_identity(rt_onnx_import *c) {
  const rt_known *known = rt_onnx_known_in(c, 0);
  if (known)
    rt_onnx_give_known(c, 0, known);
  else
    rt_onnx_give(c, 0, rt_onnx_in(c, 0));
}

/* Floats are f32 here, whatever the file calls them. */
static void import_cast(rt_onnx_import *c) {
  const rt_element *e = rt_onnx_element((int32_t)rt_onnx_int(c, "to", 0));
  const rt_known *known = rt_onnx_known_in(c, 0);
  if (!e) {
    rt_onnx_cant(c, "to a type that isn't known here");
    return;
  }
  rt_cast_attr attr = {.dtype = rt_dtype_is_float(e->dtype) ? RT_F32 : (int)e->dtype};
  if (known && attr.dtype != RT_F32) {
    rt_known *y = rt_known_new(c, (rt_dtype)attr.dtype, known->rank, known->dim);
    for (int64_t i = 0; y && i < y->n; i++) {
      y->v[i] = known->v[i];
      if (attr.dtype == RT_BOOL) y->v[i] = (rt_number){known->v[i].symbol || known->v[i].v, 0};
    }
    rt_onnx_give_known(c, 0, y);
    return;
  }
  rt_value *x = rt_onnx_in(c, 0);
  if (x) rt_onnx_give(c, 0, (int)x->type.dtype == attr.dtype ? x : rt_onnx_emit(c, RT_OP(cast), &attr, 1, x));
}

static void export_identity(rt_onnx_export *e) { rt_onnx_put(e, "Identity", rt_onnx_in_name(e, 0), NULL); }

static void export_cast(rt_onnx_export *e) {
  rt_onnx_put(e, "Cast", rt_onnx_in_name(e, 0), NULL);
  rt_onnx_set_int(e, rt_onnx_last(e), "to", rt_onnx_code((rt_dtype)((const rt_cast_attr *)e->node->attr)->dtype));
}

const rt_onnx_row rt_onnx_row_Identity = {"Identity", import_identity, RT_OP(detach), export_identity};
const rt_onnx_row rt_onnx_row_Cast = {"Cast", import_cast, RT_OP(cast), export_cast};
