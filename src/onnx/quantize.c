/* QuantizeLinear, DequantizeLinear. An activation on a grid is u8 here: signed ones are 128 levels up, with their zero point. What an
 * initializer stands for is computed once, in the plan's prologue; products between them run in f32 on the values of the grids. */
#include "onnx/import.h"

enum { SIGNED_SHIFT = 128 };

/* One scale and zero point that are known; False: refused. */
static bool grid_of(rt_onnx_import *c, rt_quantize_attr *out) {
  double scale = 0;
  const rt_known *zero = rt_onnx_given(c, 2) ? rt_onnx_known_in(c, 2) : NULL;
  int64_t to = rt_onnx_int(c, "output_dtype", 2), z = 0;
  rt_dtype dtype = zero ? zero->dtype : to == 3 ? RT_S8 : RT_U8;
  if (rt_onnx_floats_in(c, 1, &scale, 1) != 1 || !(scale > 0) || rt_onnx_int(c, "block_size", 0))
    rt_onnx_cant(c, "its scale isn't one known number above 0");
  else if ((rt_onnx_given(c, 2) && (!zero || zero->n != 1 || !rt_known_number(zero, 0, &z))) ||
           (dtype != RT_U8 && dtype != RT_S8) || (to != 2 && to != 3 && to != 0))
    rt_onnx_cant(c, "its zero point isn't one known number of 8 bits");
  *out = (rt_quantize_attr){scale, z + (dtype == RT_S8 ? SIGNED_SHIFT : 0), 255};
  return !c->refuses;
}

static void import_quantize(rt_onnx_import *c) {
  rt_quantize_attr attr;
  rt_value *x = rt_onnx_in(c, 0);
  if (!x || !grid_of(c, &attr)) return;
  if (x->type.dtype != RT_F32)
    rt_onnx_cant(c, "of %s", rt_dtype_name(x->type.dtype));
  else
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(quantize), &attr, 1, x));
}

/* A number per index of x's axis, or one for all, in f32, so that it broadcasts. */
static rt_value *along(rt_onnx_import *c, rt_value *v, const rt_value *x, int axis) {
  static const rt_cast_attr f32 = {.dtype = RT_F32};
  int64_t shape[RT_MAX_RANK];
  if (v && v->type.dtype != RT_F32) v = rt_onnx_emit(c, RT_OP(cast), &f32, 1, v);
  if (!v || rt_type_elements(&v->type) == 1) return v ? rt_onnx_reshape(c, v, 0, NULL) : NULL;
  if (v->type.rank != 1 || v->type.dim[0] != x->type.dim[axis]) {
    rt_onnx_cant(c, "its scales aren't one for all or one for every index of axis %d", axis);
    return NULL;
  }
  for (int d = 0; d < x->type.rank; d++) shape[d] = d == axis ? -1 : 1;
  return rt_onnx_reshape(c, v, x->type.rank, shape);
}

/* (q − z)·s of weights and biases. */
static void dequantize_weights(rt_onnx_import *c, rt_value *q) {
  static const rt_cast_attr f32 = {.dtype = RT_F32};
  int rank = q->type.rank;
  int axis = rank ? rt_onnx_axis(c, rank == 1 ? 0 : rt_onnx_int(c, "axis", 1), rank) : 0;
  if (rt_onnx_int(c, "block_size", 0)) rt_onnx_cant(c, "in blocks");
  rt_value *scale = along(c, rt_onnx_statistic_in(c, 1), q, axis);
  rt_value *zero = rt_onnx_given(c, 2) ? along(c, rt_onnx_in(c, 2), q, axis) : NULL;
  rt_value *x = rt_onnx_emit(c, RT_OP(cast), &f32, 1, q);
  if (zero) x = rt_onnx_emit(c, RT_OP(sub), NULL, 2, x, zero);
  rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(mul), NULL, 2, x, scale));
}

static void import_dequantize(rt_onnx_import *c) {
  rt_quantize_attr attr;
  rt_value *q = rt_onnx_in(c, 0);
  if (!q) return;
  if (rt_dtype_is_float(q->type.dtype))
    rt_onnx_cant(c, "of floats");
  else if (q->kind != RT_VALUE_NODE || q->type.dtype != RT_U8)
    dequantize_weights(c, q);
  else if (grid_of(c, &attr))
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(dequantize), &attr, 1, q));
}

const rt_onnx_row rt_onnx_row_QuantizeLinear = {"QuantizeLinear", import_quantize};
const rt_onnx_row rt_onnx_row_DequantizeLinear = {"DequantizeLinear", import_dequantize};
