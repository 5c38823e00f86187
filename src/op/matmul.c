/* matmul: y = op(a)·op(b), op(a) …×M×K, op(b) …×K×N, y …×M×N; leading dimensions broadcast as in NumPy.
 *   da = dy·op(b)ᵀ, db = op(a)ᵀ·dy, summed over what was broadcast */
#include "base/alloc.h"
#include "base/thread.h"
#include "op/layer.h"

#define FIELD(name) offsetof(rt_matmul_attr, name)

static const rt_option options[] = {
    {"transpose_a", RT_OPT_BOOL, FIELD(transpose_a), "false", .help = "a is …×K×M"},
    {"transpose_b", RT_OPT_BOOL, FIELD(transpose_b), "false", .help = "b is …×N×K"},
    {"f32", RT_OPT_BOOL, FIELD(f32), "false", .help = "f32 result, whatever the inputs"},
    {"exact", RT_OPT_BOOL, FIELD(exact), "false", .help = "never cast to a lower precision: losses"},
    {0},
};

/* The number of the axis that op(t) has as its row (0) or column (1). */
static int matrix_axis(const rt_type *t, bool transposed, int which) { return t->rank - 2 + (which ^ (int)transposed); }

static rt_status infer(rt_infer *c) {
  const rt_matmul_attr *attr = c->attr;
  const rt_type *a = c->in[0], *b = c->in[1];
  rt_status s;
  if ((s = rt_infer_rank(c, 0, 2, RT_MAX_RANK)) || (s = rt_infer_rank(c, 1, 2, RT_MAX_RANK)) ||
      (s = rt_infer_float(c, 0)) || (s = rt_infer_same_dtype(c, 0, 1)) ||
      (s = rt_infer_same(c, 0, matrix_axis(a, attr->transpose_a, 1), 1, matrix_axis(b, attr->transpose_b, 0))))
    return s;
  rt_type batch_a = *a, batch_b = *b, *out = c->out;
  batch_a.rank -= 2;
  batch_b.rank -= 2;
  if (rt_infer_broadcast(c, &batch_a, &batch_b, out) != RT_OK) {
    char a_text[RT_TYPE_TEXT], b_text[RT_TYPE_TEXT];
    return rt_infer_fail(c, "the leading dimensions of a and b do not broadcast: %s and %s",
                         rt_type_text(c->graph, a, a_text, sizeof a_text),
                         rt_type_text(c->graph, b, b_text, sizeof b_text));
  }
  out->dtype = attr->f32 ? rt_wide(a->dtype) : a->dtype;
  out->dim[out->rank++] = a->dim[matrix_axis(a, attr->transpose_a, 0)];
  out->dim[out->rank++] = b->dim[matrix_axis(b, attr->transpose_b, 1)];
  return RT_OK;
}

static rt_value *product(rt_grad *c, rt_value *a, bool transpose_a, rt_value *b, bool transpose_b) {
  rt_matmul_attr attr = {.transpose_a = transpose_a, .transpose_b = transpose_b};
  return rt_emit(c->graph, RT_OP(matmul), NULL, &attr, 2, a, b);
}

static void grad(rt_grad *c) {
  const rt_matmul_attr *attr = c->node->attr;
  bool ta = attr->transpose_a, tb = attr->transpose_b;
  rt_value *a = c->node->in[0], *b = c->node->in[1], *dy = c->dy[0];
  if (dy && dy->type.dtype != a->type.dtype) /* f32=true made the product wider than its factors */
    dy = rt_emit(c->graph, RT_OP(cast), NULL, &(rt_cast_attr){(int)a->type.dtype}, 1, dy);
  if (c->want[0]) {
    rt_value *da = ta ? product(c, b, tb, dy, true) : product(c, dy, false, b, !tb);
    c->dx[0] = rt_emit_sum_to(c->graph, da, a);
  }
  if (c->want[1]) {
    rt_value *db = tb ? product(c, dy, true, a, ta) : product(c, a, !ta, dy, false);
    c->dx[1] = rt_emit_sum_to(c->graph, db, b);
  }
}

static double flops(const rt_type *const *in, const rt_type *out, const void *attr) {
  bool transposed = ((const rt_matmul_attr *)attr)->transpose_a;
  return 2 * (double)rt_type_elements(out) * (double)in[0]->dim[matrix_axis(in[0], transposed, 1)];
}

/* ---- reference ---- */

typedef struct factors {
  const rt_tensor *at, *bt, *yt;
  double *a, *b, *y; /* the same, dense */
} factors;

/* Which matrix of t goes into matrix i of y. */
static int64_t broadcast_matrix(const rt_tensor *t, const rt_tensor *y, int64_t i) {
  int64_t matrix = 0, step = 1;
  for (int d = 3; d <= t->rank; d++) { /* from the innermost */
    int64_t size = t->dim[t->rank - d], index = i % y->dim[y->rank - d];
    i /= y->dim[y->rank - d];
    matrix += size == 1 ? 0 : index * step;
    step *= size;
  }
  return matrix;
}

static void rows(void *context, int64_t begin, int64_t end) {
  const factors *f = context;
  int64_t m = f->yt->dim[f->yt->rank - 2], n = f->yt->dim[f->yt->rank - 1], k = f->at->dim[f->at->rank - 1];
  for (int64_t row = begin; row < end; row++) {
    const double *a = f->a + (broadcast_matrix(f->at, f->yt, row / m) * m + row % m) * k;
    const double *b = f->b + broadcast_matrix(f->bt, f->yt, row / m) * k * n;
    double *restrict y = f->y + row * n;
    for (int64_t i = 0; i < k; i++)
      for (int64_t j = 0; j < n; j++) y[j] += a[i] * b[i * n + j];
  }
}

rt_status rt_matmul_reference(const rt_tensor *a, const rt_tensor *b, const rt_tensor *bias, const rt_tensor *y) {
  factors f = {a, b, y, rt_dense(a), rt_dense(b), rt_dense_zero(y)};
  bool ready = f.a && f.b && f.y;
  if (ready) {
    int64_t n = y->dim[y->rank - 1], elements = rt_tensor_elements(y);
    for (int64_t i = 0; bias && i < elements; i++) f.y[i] = rt_get(bias, i % n);
    rt_parallel_for(elements / n, 1, rows, &f);
    rt_dense_store(y, f.y);
  }
  rt_free(f.a);
  rt_free(f.b);
  rt_free(f.y);
  return ready ? RT_OK : RT_E_MEMORY;
}

static rt_tensor transposed(const rt_tensor *t) {
  rt_tensor view = *t;
  int row = t->rank - 2, column = t->rank - 1;
  view.dim[row] = t->dim[column];
  view.dim[column] = t->dim[row];
  view.stride[row] = t->stride[column];
  view.stride[column] = t->stride[row];
  return view;
}

static rt_status reference(const rt_call *c) {
  const rt_matmul_attr *attr = c->attr;
  rt_tensor a = attr->transpose_a ? transposed(c->in[0]) : *c->in[0];
  rt_tensor b = attr->transpose_b ? transposed(c->in[1]) : *c->in[1];
  return rt_matmul_reference(&a, &b, NULL, c->out);
}

static bool exact(const void *attr) { return ((const rt_matmul_attr *)attr)->exact; }

static const char *const cases[] = {
    "x[3,5] x[5,4]",
    "x[17,3] x[17,19] ; transpose_a=true",
    "x[3,5] x[4,5] ; transpose_b=true",
    "x[5,3] x[4,5] ; transpose_a=true transpose_b=true",
    "x[1,1] x[1,1]",
    "x[1,33] x[33,1]",
    "x[5,3] x[5,4] ; transpose_a=true f32=true",
    "x[2,3,4,5] x[2,3,5,3]",
    "x[2,3,4,5] x[2,3,6,5] ; transpose_b=true",
    "x[2,1,4,5] x[3,5,2]",
    "x[4,2,3] x[2,5] ; transpose_a=true",
    "x[2,3] x[4,2,1,5,3] ; transpose_b=true",
    NULL,
};

static const char *const errors[] = {
    "x[3,5] x[4,5] ; => dimension 0 of b is expected 5",
    "x[3,5] x[5,4] ; transpose_a=true => dimension 0 of b is expected 3",
    "x[2,3,5] x[3,5,4] ; => broadcast",
    "x[5] x[5,4] ; => a must have rank 2",
    "s64[3,5] s64[5,4] ; => floating",
    NULL,
};

const rt_op rt_op_row_matmul = {
    .name = "matmul",
    .summary = "y = a·b: …×M×K, …×K×N to …×M×N; leading dimensions broadcast",
    .input_names = "a b",
    .options = options,
    .attr_size = sizeof(rt_matmul_attr),
    .n_out = 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .precision = RT_PRECISION_LOW,
    .exact = exact,
    .flops = flops,
    .cases = cases,
    .errors = errors,
};
