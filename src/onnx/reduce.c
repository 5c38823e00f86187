/* ReduceMean and its kin, over axes that are an attribute in older opsets and an input in newer ones. */
#include "onnx/export.h"
#include "onnx/import.h"

static const rt_unary_attr plain;

/* False: refused, or there is nothing to reduce (noop_with_empty_axes), and the input itself was given. */
static bool reduction(rt_onnx_import *c, rt_value **x, rt_reduce_attr *attr) {
  *x = rt_onnx_in(c, 0);
  if (!*x) return false;
  *attr = (rt_reduce_attr){.keepdim = rt_onnx_int(c, "keepdims", 1) != 0};
  rt_onnx_list(c, "axes", 1, &attr->axes);
  if (c->refuses) return false;
  for (int i = 0; i < attr->axes.n; i++) rt_onnx_axis(c, attr->axes.v[i], (*x)->type.rank);
  if (!rt_dtype_is_float((*x)->type.dtype)) rt_onnx_cant(c, "of %s", rt_dtype_name((*x)->type.dtype));
  if (c->refuses) return false;
  if (attr->axes.n || !rt_onnx_int(c, "noop_with_empty_axes", 0)) return true;
  rt_onnx_give(c, 0, *x);
  return false;
}

/* y = after(op(before(x))); either function may be missing. */
static void reduce(rt_onnx_import *c, const rt_op *before, const rt_op *op, const rt_op *after) {
  rt_value *x;
  rt_reduce_attr attr;
  if (!reduction(c, &x, &attr)) return;
  if (before) x = rt_onnx_emit(c, before, &plain, 1, x);
  rt_value *y = rt_onnx_emit(c, op, &attr, 1, x);
  rt_onnx_give(c, 0, after ? rt_onnx_emit(c, after, &plain, 1, y) : y);
}

/* ln Σ eˣ = m + ln Σ e^(x−m), m the largest */
static void import_log_sum_exp(rt_onnx_import *c) {
  rt_value *x;
  rt_reduce_attr attr, kept;
  if (!reduction(c, &x, &attr)) return;
  kept = attr;
  kept.keepdim = true;
  rt_value *most = rt_onnx_emit(c, RT_OP(max), &kept, 1, x);
  rt_value *e = rt_onnx_emit(c, RT_OP(exp), &plain, 1, rt_onnx_emit(c, RT_OP(sub), NULL, 2, x, most));
  rt_value *sum = rt_onnx_emit(c, RT_OP(log), &plain, 1, rt_onnx_emit(c, RT_OP(sum), &attr, 1, e));
  if (!attr.keepdim) most = rt_onnx_emit(c, RT_OP(max), &attr, 1, x);
  rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(add), NULL, 2, sum, most));
}

/* Axes are an input from opset 13 (sums) or 18 on. */
static void export_reduction(rt_onnx_export *e, const char *op, int64_t inputs_from) {
  const rt_reduce_attr *a = e->node->attr;
  bool as_input = e->opset >= inputs_from && a->axes.n;
  rt_onnx_put(e, op, rt_onnx_in_name(e, 0), as_input ? rt_onnx_whole(e, a->axes.v, a->axes.n) : "", NULL);
  if (a->axes.n && !as_input) rt_onnx_set_ints(e, rt_onnx_last(e), "axes", a->axes.v, a->axes.n);
  rt_onnx_set_int(e, rt_onnx_last(e), "keepdims", a->keepdim);
}

static void export_sum(rt_onnx_export *e) { export_reduction(e, "ReduceSum", 13); }
static void export_mean(rt_onnx_export *e) { export_reduction(e, "ReduceMean", 18); }
static void export_max(rt_onnx_export *e) { export_reduction(e, "ReduceMax", 18); }

const rt_onnx_row rt_onnx_row_sum = {NULL, NULL, RT_OP(sum), export_sum};
const rt_onnx_row rt_onnx_row_mean = {NULL, NULL, RT_OP(mean), export_mean};
const rt_onnx_row rt_onnx_row_max = {NULL, NULL, RT_OP(max), export_max};

#define REDUCE(name, before, op, after) \
  static void import_##name(rt_onnx_import *c) { reduce(c, before, op, after); } \
  const rt_onnx_row rt_onnx_row_##name = {#name, import_##name, NULL, NULL};

REDUCE(ReduceMean, NULL, RT_OP(mean), NULL)
REDUCE(ReduceSum, NULL, RT_OP(sum), NULL)
REDUCE(ReduceMax, NULL, RT_OP(max), NULL)
REDUCE(ReduceMin, RT_OP(neg), RT_OP(max), RT_OP(neg))
REDUCE(ReduceSumSquare, RT_OP(square), RT_OP(sum), NULL)
REDUCE(ReduceL2, RT_OP(square), RT_OP(sum), RT_OP(sqrt))
REDUCE(ReduceL1, RT_OP(abs), RT_OP(sum), NULL)
REDUCE(ReduceLogSum, NULL, RT_OP(sum), RT_OP(log))
const rt_onnx_row rt_onnx_row_ReduceLogSumExp = {"ReduceLogSumExp", import_log_sum_exp};
