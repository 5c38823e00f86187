/* Gemm, MatMul; a MatMul by a matrix of weights, with an Add behind it, is a linear layer. */
#include "onnx/export.h"
#include "onnx/import.h"

static rt_value *scaled(rt_onnx_import *c, rt_value *x, double by) {
  return by == 1 ? x : rt_onnx_emit(c, RT_OP(mul), NULL, 2, x, rt_scalar(c->g, by));
}

static bool is_vector_of(const rt_value *v, rt_dim n) {
  return v->type.rank == 1 && n > 1 && v->type.dim[0] == n && v->type.dtype == RT_F32;
}

/* y = alpha·op(A)·op(B) + beta·C */
static void import_gemm(rt_onnx_import *c) {
  double alpha = rt_onnx_float(c, "alpha", 1), beta = rt_onnx_float(c, "beta", 1);
  bool turned = rt_onnx_int(c, "transB", 0) != 0;
  rt_value *a = rt_onnx_in(c, 0);
  if (!a) return;
  if (rt_onnx_int(c, "transA", 0)) a = rt_onnx_emit(c, RT_OP(transpose), &(rt_transpose_attr){0}, 1, a);
  rt_value *weight = rt_onnx_weight_in(c, 1, turned),
           *bias = rt_onnx_given(c, 2) && beta != 0 ? rt_onnx_in(c, 2) : NULL;
  if (!weight || !a || c->refuses) return;
  bool fits = bias && alpha == 1 && beta == 1 && weight->type.rank == 2 && is_vector_of(bias, weight->type.dim[0]);
  rt_value *y = rt_onnx_emit(c, RT_OP(linear), NULL, 3, a, weight, fits ? bias : NULL);
  if (!fits) y = scaled(c, y, alpha);
  if (bias && !fits) y = rt_onnx_emit(c, RT_OP(add), NULL, 2, y, scaled(c, bias, beta));
  rt_onnx_give(c, 0, y);
}

/* A vector is a row on the left, a column on the right, and that axis goes away again. */
rt_value *rt_onnx_product(rt_onnx_import *c, rt_value *a, rt_value *b) {
  if (!a || !b) return NULL;
  bool row = a->type.rank == 1, column = b->type.rank == 1;
  if (row) a = rt_onnx_reshape(c, a, 2, (int64_t[]){1, -1});
  if (column) b = rt_onnx_reshape(c, b, 2, (int64_t[]){-1, 1});
  rt_value *y = rt_onnx_emit(c, RT_OP(matmul), &(rt_matmul_attr){0}, 2, a, b);
  if (!y || (!row && !column)) return y;
  int rank = y->type.rank, n = 0, open = -1;
  int64_t shape[RT_MAX_RANK];
  for (int d = 0; d < rank; d++)
    if (!(d == rank - 2 && row) && !(d == rank - 1 && column)) shape[n++] = y->type.dim[d];
  for (int d = 0; d < n; d++)
    if (shape[d] < 0) shape[d] = open < 0 ? (open = d, -1) : 0;
  return rt_onnx_reshape(c, y, n, shape);
}

static void import_matmul(rt_onnx_import *c) {
  rt_value *a = rt_onnx_in(c, 0);
  if (!a) return;
  if (rt_onnx_is_matrix(c, 1) && a->type.rank >= 1) {
    rt_value *weight = rt_onnx_weight_in(c, 1, false);
    rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(linear), NULL, 2, a, weight));
    return;
  }
  rt_onnx_give(c, 0, rt_onnx_product(c, a, rt_onnx_in(c, 1)));
}

/* ---- and back ---- */

/* The last two axes of an input exchanged. */
static const char *turned_name(rt_onnx_export *e, int i) {
  int rank = e->node->in[i]->type.rank;
  int64_t perm[RT_MAX_RANK];
  for (int d = 0; d < rank; d++) perm[d] = d;
  perm[rank - 1] = rank - 2;
  perm[rank - 2] = rank - 1;
  const char *name = rt_onnx_via(e, "Transpose", rt_onnx_in_name(e, i), NULL);
  rt_onnx_set_ints(e, rt_onnx_last(e), "perm", perm, rank);
  return name;
}

static void export_linear(rt_onnx_export *e) {
  const char *x = rt_onnx_in_name(e, 0), *b = rt_onnx_in_name(e, 2);
  if (e->node->in[0]->type.rank == 2) {
    rt_onnx_put(e, "Gemm", x, rt_onnx_in_name(e, 1), b, NULL);
    rt_onnx_set_int(e, rt_onnx_last(e), "transB", 1);
  } else if (*b) {
    rt_onnx_put(e, "Add", rt_onnx_via(e, "MatMul", x, turned_name(e, 1), NULL), b, NULL);
  } else {
    rt_onnx_put(e, "MatMul", x, turned_name(e, 1), NULL);
  }
}

static void export_matmul(rt_onnx_export *e) {
  const rt_matmul_attr *a = e->node->attr;
  const char *x = a->transpose_a ? turned_name(e, 0) : rt_onnx_in_name(e, 0);
  rt_onnx_put(e, "MatMul", x, a->transpose_b ? turned_name(e, 1) : rt_onnx_in_name(e, 1), NULL);
}

const rt_onnx_row rt_onnx_row_Gemm = {"Gemm", import_gemm, RT_OP(linear), export_linear};
const rt_onnx_row rt_onnx_row_MatMul = {"MatMul", import_matmul, RT_OP(matmul), export_matmul};
