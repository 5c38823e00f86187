/* QuantizeLinear, DequantizeLinear, QLinearConv, QLinearMatMul. An activation on a grid is u8 here: signed ones are 128 levels up, with
 * their zero point. What an initializer stands for is computed once, in the plan's prologue; products between them are of floats,
 * which rt_record_of_grids makes products of levels. */
#include "onnx/export.h"
#include "onnx/import.h"

#include <math.h>
#include <stdio.h>

enum { SIGNED_SHIFT = 128 };

/* One scale and zero point that are known: inputs `scale` and the one behind it. False: refused. */
static bool grid_at(rt_onnx_import *c, int scale, rt_quantize_attr *out, bool *shifted) {
  double s = 0;
  const rt_known *zero = rt_onnx_given(c, scale + 1) ? rt_onnx_known_in(c, scale + 1) : NULL;
  int64_t to = rt_onnx_int(c, "output_dtype", 2), z = 0;
  rt_dtype dtype = zero ? zero->dtype : to == 3 ? RT_S8 : RT_U8;
  if (rt_onnx_floats_in(c, scale, &s, 1) != 1 || !(s > 0) || rt_onnx_int(c, "block_size", 0))
    rt_onnx_cant(c, "its scale isn't one known number above 0");
  else if ((rt_onnx_given(c, scale + 1) && (!zero || zero->n != 1 || !rt_known_number(zero, 0, &z))) ||
           z < -SIGNED_SHIFT || z > 255 || (dtype != RT_U8 && dtype != RT_S8) || (to != 2 && to != 3 && to != 0))
    rt_onnx_cant(c, "its zero point isn't one known number of 8 bits");
  *shifted = dtype == RT_S8;
  *out = (rt_quantize_attr){s, z + (*shifted ? SIGNED_SHIFT : 0), 255};
  return !c->refuses;
}

/* x on the grid of inputs `scale` and the one behind it, as the node's output. */
static void give_quantized(rt_onnx_import *c, rt_value *x, int scale) {
  rt_quantize_attr attr;
  bool shifted;
  if (!x || !grid_at(c, scale, &attr, &shifted)) return;
  if (x->type.dtype != RT_F32)
    rt_onnx_cant(c, "of %s", rt_dtype_name(x->type.dtype));
  else
    rt_onnx_give_grid(c, 0, rt_onnx_emit(c, RT_OP(quantize), &attr, 1, x), shifted);
}

static void import_quantize(rt_onnx_import *c) { give_quantized(c, rt_onnx_in(c, 0), 1); }

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
static rt_value *dequantized_weights(rt_onnx_import *c, rt_value *q, int first, int64_t axis) {
  static const rt_cast_attr f32 = {.dtype = RT_F32};
  int rank = q->type.rank, at = rank ? rt_onnx_axis(c, rank == 1 ? 0 : axis, rank) : 0;
  rt_value *scale = along(c, rt_onnx_statistic_in(c, first + 1), q, at);
  rt_value *zero = rt_onnx_given(c, first + 2) ? along(c, rt_onnx_in(c, first + 2), q, at) : NULL;
  rt_value *x = rt_onnx_emit(c, RT_OP(cast), &f32, 1, q);
  if (zero) x = rt_onnx_emit(c, RT_OP(sub), NULL, 2, x, zero);
  return rt_onnx_emit(c, RT_OP(mul), NULL, 2, x, scale);
}

/* Input `first` by the scale and the zero point behind it. */
static rt_value *dequantized_in(rt_onnx_import *c, int first, int64_t axis) {
  rt_quantize_attr attr;
  bool shifted;
  rt_value *q = rt_onnx_grid_in(c, first);
  if (!q) return NULL;
  if (rt_dtype_is_float(q->type.dtype))
    rt_onnx_cant(c, "of floats");
  else if (q->kind != RT_VALUE_NODE || q->type.dtype != RT_U8)
    return dequantized_weights(c, q, first, axis);
  else if (grid_at(c, first + 1, &attr, &shifted))
    return rt_onnx_emit(c, RT_OP(dequantize), &attr, 1, q);
  return NULL;
}

static void import_dequantize(rt_onnx_import *c) {
  if (rt_onnx_int(c, "block_size", 0)) rt_onnx_cant(c, "in blocks");
  rt_onnx_give(c, 0, dequantized_in(c, 0, rt_onnx_int(c, "axis", 1)));
}

/* ---- products of levels: those of floats between grids ---- */

/* x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, b: whole numbers of x_scale·w_scale */
static void import_qlinear_conv(rt_onnx_import *c) {
  static const rt_cast_attr f32 = {.dtype = RT_F32};
  rt_value *x = dequantized_in(c, 0, 1), *weight = dequantized_in(c, 3, 0), *bias = NULL;
  rt_value *b = rt_onnx_given(c, 8) ? rt_onnx_in(c, 8) : NULL;
  if (!x || !weight) return;
  if (b) {
    bias = rt_onnx_emit(c, RT_OP(cast), &f32, 1, b);
    bias = rt_onnx_emit(c, RT_OP(mul), NULL, 2, bias, along(c, rt_onnx_statistic_in(c, 1), b, 0));
    bias = rt_onnx_emit(c, RT_OP(mul), NULL, 2, bias, along(c, rt_onnx_statistic_in(c, 4), b, 0));
  }
  give_quantized(c, rt_onnx_convolution(c, x, weight, bias), 6);
}

/* a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point; scales are one for all, or one a row of a and a column
 * of b. */
static void import_qlinear_matmul(rt_onnx_import *c) {
  rt_value *q = rt_onnx_grid_in(c, 3), *a = dequantized_in(c, 0, -2), *b = dequantized_in(c, 3, -1);
  if (!a || !b) return;
  bool weight = q->kind != RT_VALUE_NODE && q->kind != RT_VALUE_INPUT && b->type.rank == 2;
  rt_value *y = weight ? rt_onnx_emit(c, RT_OP(transpose), &(rt_transpose_attr){0}, 1, b) : rt_onnx_product(c, a, b);
  give_quantized(c, weight ? rt_onnx_emit(c, RT_OP(linear), NULL, 2, a, y) : y, 6);
}

/* ---- and back: products in int8 as products between grids ---- */

typedef struct grid {
  double scale;
  int64_t zero_point;
} grid;

static const rt_var *number_of(const rt_onnx_export *e, const char *node, const char *role) {
  char name[512];
  snprintf(name, sizeof name, "%s.%s", node, role);
  const rt_var *v = rt_store_find(e->g->store, name);
  return v && v->data ? v : NULL;
}

/* Where a value in u8 has its grid from: the node that quantized it, or the product that made it. A product's scale is in what
 * multiplies its sums, weight_scale·(sx/sy), and its grid is in the store; but where that is another, its end is a relu6 with a grid of
 * its own, whose zero point is 0. */
static bool grid_of_value(rt_onnx_export *e, const rt_value *v, grid *out) {
  const rt_node *n = v->node;
  while (n && (n->op->moves || n->op == RT_OP(pad))) n = n->in[0]->node;
  if (!n) return false;
  if (n->op == RT_OP(quantize)) {
    const rt_quantize_attr *a = n->attr;
    *out = (grid){a->scale, a->zero_point};
    return true;
  }
  const rt_var *scale = number_of(e, n->name, "out_scale"), *zero = number_of(e, n->name, "out_zero_point");
  const rt_node *factor = n->n_in > 2 && n->in[2] ? n->in[2]->node : NULL;
  bool stored = scale && zero;
  if (stored) *out = (grid){(double)*(const float *)scale->data, *(const int32_t *)zero->data};
  grid x;
  if (!factor || factor->n_in != 2 || factor->in[1]->kind != RT_VALUE_CONSTANT || !grid_of_value(e, n->in[0], &x))
    return stored;
  double by_factor = x.scale / (double)*(const float *)factor->in[1]->data;
  if (!stored || fabs(by_factor - out->scale) > 1e-5 * out->scale) *out = (grid){by_factor, 0};
  return true;
}

static const char *scalar(rt_onnx_export *e, double v) {
  float f = (float)v;
  return rt_onnx_floats(e, &f, 1, 0);
}

static const char *dequantized(rt_onnx_export *e, const rt_value *v) {
  grid g;
  if (v->type.dtype != RT_U8) return rt_onnx_name_of(e, v);
  if (!grid_of_value(e, v, &g)) {
    rt_onnx_cannot(e, "the grid of %s isn't known", v->name);
    return "";
  }
  return rt_onnx_via(e, "DequantizeLinear", rt_onnx_name_of(e, v), scalar(e, g.scale), rt_onnx_byte(e, g.zero_point),
                     NULL);
}

/* Levels end at 127 for CPUs whose sums of two products would not fit else. */
static const char *cut(rt_onnx_export *e, const char *x, const grid *g, int64_t high) {
  return high >= 255 ? x : rt_onnx_via(e, "Clip", x, "", scalar(e, g->scale * (double)(high - g->zero_point)), NULL);
}

static void put_quantize(rt_onnx_export *e, const char *x, const grid *g, int64_t high) {
  rt_onnx_put(e, "QuantizeLinear", cut(e, x, g, high), scalar(e, g->scale), rt_onnx_byte(e, g->zero_point), NULL);
}

static void export_quantize(rt_onnx_export *e) {
  const rt_quantize_attr *a = e->node->attr;
  grid g = {a->scale, a->zero_point};
  put_quantize(e, rt_onnx_in_name(e, 0), &g, a->high);
}

static void export_dequantize(rt_onnx_export *e) {
  const rt_quantize_attr *a = e->node->attr;
  rt_onnx_put(e, "DequantizeLinear", rt_onnx_in_name(e, 0), scalar(e, a->scale), rt_onnx_byte(e, a->zero_point), NULL);
}

static const char *weight_of(rt_onnx_export *e, const rt_var *scale) {
  const char *w = rt_onnx_via(e, "DequantizeLinear", rt_onnx_in_name(e, 1), rt_onnx_variable(e, scale), NULL);
  rt_onnx_set_int(e, rt_onnx_last(e), "axis", 0);
  return w;
}

/* As s32 on the grid of the sums, sx·sw, where it fits there; else as floats. */
static const char *bias_of(rt_onnx_export *e, const rt_var *bias, const rt_var *scale, double sx) {
  int64_t n = bias->type.dim[0];
  const float *b = bias->data, *sw = scale->data;
  int32_t *q = rt_arena_alloc(&e->arena, (size_t)n * sizeof *q);
  float *s = rt_arena_alloc(&e->arena, (size_t)n * sizeof *s);
  if (!q || !s) {
    e->status = RT_E_MEMORY;
    return "";
  }
  for (int64_t o = 0; o < n; o++) {
    s[o] = (float)(sx * (double)sw[o]);
    double v = nearbyint((double)b[o] / (double)s[o]);
    if (!(fabs(v) < 2147483647.0)) return rt_onnx_variable(e, bias);
    q[o] = (int32_t)v;
  }
  const char *name = rt_onnx_via(e, "DequantizeLinear", rt_onnx_words(e, q, n), rt_onnx_floats(e, s, n, 1), NULL);
  rt_onnx_set_int(e, rt_onnx_last(e), "axis", 0);
  return name;
}

/* y = act(x·w + b + r) of what is dequantized, onto its grid where it has one. `product` puts the node and its attributes. */
static void export_product(rt_onnx_export *e, const rt_int8_attr *a, int activation,
                           const char *(*product)(rt_onnx_export *e, const char *x, const char *w, const char *b)) {
  const rt_node *n = e->node;
  const rt_var *bias = number_of(e, n->name, "bias"), *scale = number_of(e, n->name, "weight_scale");
  grid x, y = {1, 0};
  if (!bias || !scale || !grid_of_value(e, n->in[0], &x) || (!a->f32 && !grid_of_value(e, n->out[0], &y))) {
    rt_onnx_cannot(e, "its grids aren't known");
    return;
  }
  const char *sum = product(e, dequantized(e, n->in[0]), weight_of(e, scale), bias_of(e, bias, scale, x.scale));
  if (n->n_in > 4 && n->in[4]) sum = rt_onnx_via(e, "Add", sum, dequantized(e, n->in[4]), NULL);
  if (activation == RT_ACTIVATION_RELU) sum = rt_onnx_via(e, "Relu", sum, NULL);
  if (a->f32)
    rt_onnx_put(e, "Identity", sum, NULL);
  else
    put_quantize(e, sum, &y, a->high);
}

static const char *put_conv(rt_onnx_export *e, const char *x, const char *w, const char *b) {
  const rt_conv2d_attr *a = &((const rt_conv2d_int8_attr *)e->node->attr)->conv;
  const int64_t pads[] = {a->padding[0], a->padding[1], a->padding[0], a->padding[1]};
  const char *name = rt_onnx_via(e, "Conv", x, w, b, NULL);
  rt_onnx_node *n = rt_onnx_last(e);
  rt_onnx_set_ints(e, n, "strides", a->stride, 2);
  rt_onnx_set_ints(e, n, "pads", pads, 4);
  rt_onnx_set_ints(e, n, "dilations", a->dilation, 2);
  rt_onnx_set_int(e, n, "group", a->groups);
  return name;
}

static const char *put_linear(rt_onnx_export *e, const char *x, const char *w, const char *b) {
  if (e->node->in[0]->type.rank == 2) {
    const char *name = rt_onnx_via(e, "Gemm", x, w, b, NULL);
    rt_onnx_set_int(e, rt_onnx_last(e), "transB", 1);
    return name;
  }
  return rt_onnx_via(e, "Add", rt_onnx_via(e, "MatMul", x, rt_onnx_via(e, "Transpose", w, NULL), NULL), b, NULL);
}

static void export_conv_int8(rt_onnx_export *e) {
  const rt_conv2d_int8_attr *a = e->node->attr;
  export_product(e, &a->int8, a->conv.activation, put_conv);
}

static void export_linear_int8(rt_onnx_export *e) { export_product(e, e->node->attr, RT_ACTIVATION_NONE, put_linear); }

/* On its grid, in float: ONNX's tools know pools between QuantizeLinear and DequantizeLinear. */
static void export_max_pool_int8(rt_onnx_export *e) {
  grid g;
  if (!grid_of_value(e, e->node->in[0], &g)) {
    rt_onnx_cannot(e, "the grid of %s isn't known", e->node->in[0]->name);
    return;
  }
  const char *most = rt_onnx_via(e, "MaxPool", dequantized(e, e->node->in[0]), NULL);
  rt_onnx_set_pool(e, e->node->attr, false);
  put_quantize(e, most, &g, 255);
}

/* What a node makes of levels: y is what it makes of them dequantized. */
static void put_regridded(rt_onnx_export *e, const char *y) {
  grid g;
  if (!grid_of_value(e, e->node->out[0], &g))
    rt_onnx_cannot(e, "its grid isn't known");
  else
    put_quantize(e, y, &g, ((const rt_regrid_attr *)e->node->attr)->high);
}

static const void *behind_grids(const rt_onnx_export *e) {
  return (const char *)e->node->attr + sizeof(rt_regrid_attr);
}

static void export_requantize(rt_onnx_export *e) { put_regridded(e, dequantized(e, e->node->in[0])); }

static void export_add_int8(rt_onnx_export *e) {
  put_regridded(e, rt_onnx_via(e, "Add", dequantized(e, e->node->in[0]), dequantized(e, e->node->in[1]), NULL));
}

static void export_avg_pool_int8(rt_onnx_export *e) {
  const char *y = rt_onnx_via(e, "AveragePool", dequantized(e, e->node->in[0]), NULL);
  rt_onnx_set_pool(e, behind_grids(e), true);
  put_regridded(e, y);
}

static void export_adaptive_int8(rt_onnx_export *e) {
  const char *y = rt_onnx_via(e, rt_onnx_adaptive_op(behind_grids(e)), dequantized(e, e->node->in[0]), NULL);
  rt_onnx_set_adaptive(e, behind_grids(e));
  put_regridded(e, y);
}

const rt_onnx_row rt_onnx_row_QuantizeLinear = {"QuantizeLinear", import_quantize, RT_OP(quantize), export_quantize};
const rt_onnx_row rt_onnx_row_DequantizeLinear = {"DequantizeLinear", import_dequantize, RT_OP(dequantize),
                                                  export_dequantize};
const rt_onnx_row rt_onnx_row_QLinearConv = {"QLinearConv", import_qlinear_conv};
const rt_onnx_row rt_onnx_row_QLinearMatMul = {"QLinearMatMul", import_qlinear_matmul};
const rt_onnx_row rt_onnx_row_conv2d_int8 = {NULL, NULL, RT_OP(conv2d_int8), export_conv_int8, 1 << 2 | 1 << 3};
const rt_onnx_row rt_onnx_row_linear_int8 = {NULL, NULL, RT_OP(linear_int8), export_linear_int8, 1 << 2 | 1 << 3};
const rt_onnx_row rt_onnx_row_max_pool2d_int8 = {NULL, NULL, RT_OP(max_pool2d_int8), export_max_pool_int8};
const rt_onnx_row rt_onnx_row_requantize = {NULL, NULL, RT_OP(requantize), export_requantize};
const rt_onnx_row rt_onnx_row_add_int8 = {NULL, NULL, RT_OP(add_int8), export_add_int8};
const rt_onnx_row rt_onnx_row_avg_pool2d_int8 = {NULL, NULL, RT_OP(avg_pool2d_int8), export_avg_pool_int8};
const rt_onnx_row rt_onnx_row_adaptive_avg_pool2d_int8 = {NULL, NULL, RT_OP(adaptive_avg_pool2d_int8),
                                                          export_adaptive_int8};
