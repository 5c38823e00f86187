/* BatchNormalization, LayerNormalization, InstanceNormalization, GroupNormalization, Dropout, Softmax, LogSoftmax */
#include "onnx/export.h"
#include "onnx/import.h"

/* In training form, as our own models build it; the pass rt_pass_eval gives the evaluation form. */
static void import_batch_norm(rt_onnx_import *c) {
  rt_batch_norm_attr attr = {.eps = rt_onnx_float(c, "epsilon", 1e-5),
                             .momentum = 1 - rt_onnx_float(c, "momentum", 0.9)};
  rt_value *x = rt_onnx_in(c, 0), *weight = rt_onnx_in(c, 1), *bias = rt_onnx_in(c, 2);
  rt_value *mean = rt_onnx_statistic_in(c, 3), *var = rt_onnx_statistic_in(c, 4);
  if (!x || !mean || !var || c->refuses) return;
  if (rt_onnx_int(c, "spatial", 1) == 0) {
    rt_onnx_cant(c, "spatial=0: a mean for every pixel");
    return;
  }
  rt_value *in[] = {x, weight, bias, mean, var};
  if (mean->kind != RT_VALUE_VARIABLE || var->kind != RT_VALUE_VARIABLE) {
    rt_onnx_give(c, 0, rt_graph_add(c->g, RT_OP(batch_norm), c->name, in, 5, &attr));
    return;
  }
  rt_value *y = rt_graph_add(c->g, RT_OP(batch_norm_train), c->name, in, 5, &attr);
  rt_value *new_mean = rt_output(y, 3), *new_var = rt_output(y, 4);
  if (!y) return;
  rt_graph_add(c->g, RT_OP(assign), c->name, (rt_value *[]){mean, new_mean}, 2, NULL);
  rt_graph_add(c->g, RT_OP(assign), c->name, (rt_value *[]){var, new_var}, 2, NULL);
  rt_onnx_give(c, 0, y);
  rt_onnx_give(c, 1, new_mean);
  rt_onnx_give(c, 2, new_var);
}

static rt_value *flat_from(rt_onnx_import *c, rt_value *x, int axis) {
  if (!x || axis == x->type.rank - 1) return x;
  return rt_onnx_emit(c, RT_OP(flatten), &(rt_flatten_attr){axis, -1}, 1, x);
}

static rt_value *shaped_like(rt_onnx_import *c, rt_value *y, rt_value *x) {
  return !y || y->type.rank == x->type.rank ? y : rt_onnx_emit(c, RT_OP(reshape_to), NULL, 2, y, x);
}

static rt_value *normalised(rt_onnx_import *c, rt_value *x, rt_value *weight, rt_value *bias) {
  rt_layer_norm_attr attr = {rt_onnx_float(c, "epsilon", 1e-5)};
  return rt_onnx_emit(c, RT_OP(layer_norm), &attr, 3, x, weight, bias);
}

static void import_layer_norm(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0), *weight = rt_onnx_in(c, 1), *bias = rt_onnx_given(c, 2) ? rt_onnx_in(c, 2) : NULL;
  if (!x || !weight) return;
  int axis = rt_onnx_axis(c, rt_onnx_int(c, "axis", -1), x->type.rank);
  if (weight->type.rank != x->type.rank - axis || (bias && bias->type.rank != weight->type.rank)) {
    rt_onnx_cant(c, "its scale isn't of the shape that is normalised");
    return;
  }
  rt_value *y = normalised(c, flat_from(c, x, axis), flat_from(c, weight, 0), bias ? flat_from(c, bias, 0) : NULL);
  rt_onnx_give(c, 0, shaped_like(c, y, x));
  int64_t kept[RT_MAX_RANK] = {0}; /* mean and invstd: with dimensions of 1 where x was normalised */
  for (int d = axis; d < x->type.rank; d++) kept[d] = 1;
  for (int i = 1; i < 3 && rt_onnx_wanted(c, i); i++)
    rt_onnx_give(c, i, rt_onnx_reshape(c, rt_output(y, i), x->type.rank, kept));
}

/* A value per channel against N×C×…: [C, 1, …]. */
static rt_value *per_channel(rt_onnx_import *c, rt_value *v, int rank) {
  int64_t shape[RT_MAX_RANK] = {-1};
  for (int d = 1; d < rank - 1; d++) shape[d] = 1;
  return rank < 3 ? v : rt_onnx_reshape(c, v, rank - 1, shape);
}

/* Every group of channels of every image by itself; scale and bias are per channel. */
static void groups(rt_onnx_import *c, int64_t number, bool per_group) {
  rt_value *x = rt_onnx_in(c, 0), *scale = rt_onnx_in(c, 1), *bias = rt_onnx_in(c, 2);
  if (!x || !scale || !bias || c->refuses) return;
  int rank = x->type.rank;
  if (rank < 3 || x->type.dim[1] < 1 || number < 1 || x->type.dim[1] % number) {
    rt_onnx_cant(c, "%lld groups of its channels", (long long)number);
    return;
  }
  rt_value *y = normalised(c, rt_onnx_reshape(c, x, 3, (int64_t[]){0, number, -1}), NULL, NULL);
  if (!per_group) y = rt_onnx_emit(c, RT_OP(reshape_to), NULL, 2, y, x);
  int shape = per_group ? 3 : rank;
  y = rt_onnx_emit(c, RT_OP(mul), NULL, 2, y, per_channel(c, scale, shape));
  y = rt_onnx_emit(c, RT_OP(add), NULL, 2, y, per_channel(c, bias, shape));
  rt_onnx_give(c, 0, per_group ? rt_onnx_emit(c, RT_OP(reshape_to), NULL, 2, y, x) : y);
}

static void import_instance_norm(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0);
  if (x) groups(c, x->type.rank > 1 ? x->type.dim[1] : 0, false);
}

static void import_group_norm(rt_onnx_import *c) { groups(c, rt_onnx_int(c, "num_groups", 0), c->m->opset < 21); }

/* Training draws are ours; evaluation is without. */
static void import_dropout(rt_onnx_import *c) {
  rt_value *x = rt_onnx_in(c, 0);
  double ratio = rt_onnx_float(c, "ratio", 0.5);
  if (rt_onnx_given(c, 1) && rt_onnx_floats_in(c, 1, &ratio, 1) != 1) ratio = 0.5;
  if (!x) return;
  bool draws = ratio > 0 && ratio < 1 && c->m->opset >= 7;
  rt_onnx_give(c, 0, draws ? rt_dropout(c->g, c->name, x, rt_scalar(c->g, ratio)) : x);
}

/* Before opset 13 over all axes from `axis` on, as if they were one. */
static void import_softmax_of(rt_onnx_import *c, const rt_op *op) {
  rt_value *x = rt_onnx_in(c, 0);
  if (!x) return;
  bool old = c->m->opset < 13;
  int axis = rt_onnx_axis(c, rt_onnx_int(c, "axis", old ? 1 : -1), x->type.rank);
  rt_axis_attr attr = {old ? -1 : axis};
  rt_value *y = rt_onnx_emit(c, op, &attr, 1, old ? flat_from(c, x, axis) : x);
  rt_onnx_give(c, 0, shaped_like(c, y, x));
}

static void import_softmax(rt_onnx_import *c) { import_softmax_of(c, RT_OP(softmax)); }
static void import_log_softmax(rt_onnx_import *c) { import_softmax_of(c, RT_OP(log_softmax)); }

/* ---- and back ---- */

static void export_batch_norm(rt_onnx_export *e) {
  const rt_batch_norm_attr *a = e->node->attr;
  const char *in[5], *sum = NULL;
  for (int i = 0; i < 5; i++) in[i] = rt_onnx_in_name(e, i);
  bool tail = rt_onnx_has_tail(e, 5, a->activation);
  if (tail)
    sum = rt_onnx_via(e, "BatchNormalization", in[0], in[1], in[2], in[3], in[4], NULL);
  else
    rt_onnx_put(e, "BatchNormalization", in[0], in[1], in[2], in[3], in[4], NULL);
  rt_onnx_set_float(e, rt_onnx_last(e), "epsilon", a->eps);
  rt_onnx_set_float(e, rt_onnx_last(e), "momentum", 1 - a->momentum);
  if (tail) rt_onnx_tail(e, sum, 5, a->activation);
}

static void export_layer_norm(rt_onnx_export *e) {
  const rt_value *x = e->node->in[0];
  const char *scale = rt_onnx_in_name(e, 1);
  rt_dim n = x->type.dim[x->type.rank - 1];
  if (e->opset < 17 || (!*scale && n < 1)) {
    rt_onnx_cannot(e, e->opset < 17 ? "from opset 17 on" : "without a weight, of a size that isn't known");
    return;
  }
  if (!*scale) { /* theirs has one */
    float *ones = rt_arena_alloc(&e->arena, (size_t)n * sizeof *ones);
    if (!ones) {
      e->status = RT_E_MEMORY;
      return;
    }
    for (int64_t i = 0; i < n; i++) ones[i] = 1;
    scale = rt_onnx_floats(e, ones, n, 1);
  }
  rt_onnx_put(e, "LayerNormalization", rt_onnx_in_name(e, 0), scale, rt_onnx_in_name(e, 2), NULL);
  rt_onnx_set_float(e, rt_onnx_last(e), "epsilon", ((const rt_layer_norm_attr *)e->node->attr)->eps);
}

static void export_softmax_of(rt_onnx_export *e, const char *op) {
  rt_onnx_put(e, op, rt_onnx_in_name(e, 0), NULL);
  rt_onnx_set_int(e, rt_onnx_last(e), "axis", ((const rt_axis_attr *)e->node->attr)->axis);
}

static void export_softmax(rt_onnx_export *e) { export_softmax_of(e, "Softmax"); }
static void export_log_softmax(rt_onnx_export *e) { export_softmax_of(e, "LogSoftmax"); }

const rt_onnx_row rt_onnx_row_BatchNormalization = {"BatchNormalization", import_batch_norm, RT_OP(batch_norm),
                                                    export_batch_norm};
const rt_onnx_row rt_onnx_row_LayerNormalization = {"LayerNormalization", import_layer_norm, RT_OP(layer_norm),
                                                    export_layer_norm};
const rt_onnx_row rt_onnx_row_InstanceNormalization = {"InstanceNormalization", import_instance_norm};
const rt_onnx_row rt_onnx_row_GroupNormalization = {"GroupNormalization", import_group_norm};
const rt_onnx_row rt_onnx_row_Dropout = {"Dropout", import_dropout};
const rt_onnx_row rt_onnx_row_Softmax = {"Softmax", import_softmax, RT_OP(softmax), export_softmax};
const rt_onnx_row rt_onnx_row_LogSoftmax = {"LogSoftmax", import_log_softmax, RT_OP(log_softmax), export_log_softmax};
