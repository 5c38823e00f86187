/* y[i_perm[0], i_perm[1], …] = x[i_0, i_1, …] */
#include "op/row.h"

static const rt_option options[] = {{"perm", RT_OPT_INTS, offsetof(rt_transpose_attr, perm), .fallback = "",
                                     .help = "axis of x that each axis of y is; empty: the order reversed"},
                                    {0}};

static int source(const rt_transpose_attr *attr, int rank, int d) {
  return attr->perm.n ? rt_axis(attr->perm.v[d], rank) : rank - 1 - d;
}

static rt_status infer(rt_infer *c) {
  const rt_transpose_attr *attr = c->attr;
  const rt_type *x = c->in[0];
  char text[RT_TYPE_TEXT];
  unsigned mask;
  rt_status s = rt_infer_axes(c, &attr->perm, x->rank, &mask);
  if (s != RT_OK) return s;
  if (attr->perm.n && attr->perm.n != x->rank)
    return rt_infer_fail(c, "perm names %d axes of %s, expected all %d", attr->perm.n,
                         rt_type_text(c->graph, x, text, sizeof text), x->rank);
  *c->out = (rt_type){.dtype = x->dtype, .rank = x->rank};
  for (int d = 0; d < x->rank; d++) c->out->dim[d] = x->dim[source(attr, x->rank, d)];
  return RT_OK;
}

static void grad(rt_grad *c) {
  int rank = c->node->in[0]->type.rank;
  rt_transpose_attr inverse = {.perm.n = rank};
  if (!c->want[0]) return;
  for (int d = 0; d < rank; d++) inverse.perm.v[source(c->node->attr, rank, d)] = d;
  c->dx[0] = rt_emit(c->graph, RT_OP(transpose), NULL, &inverse, 1, c->dy[0]);
}

static rt_status reference(const rt_call *c) {
  const rt_tensor *x = c->in[0];
  rt_tensor view = *x;
  for (int d = 0; d < x->rank; d++) {
    view.dim[d] = x->dim[source(c->attr, x->rank, d)];
    view.stride[d] = x->stride[source(c->attr, x->rank, d)];
  }
  rt_copy(&view, c->out);
  return RT_OK;
}

static const char *const cases[] = {"x[3,5]",
                                    "x[]",
                                    "x[33]",
                                    "x[2,3,7,5]",
                                    "x[2,3,7,5] ; perm=0,2,3,1",
                                    "x[2,3,7,5] ; perm=0,2,1,3",
                                    "x[2,3,7] ; perm=-1,0,1",
                                    "x[1,4,1] ; perm=2,1,0",
                                    "x[2,1,3,2,2] ; perm=4,0,3,1,2",
                                    "s64[2,3]<9",
                                    NULL};
static const char *const errors[] = {"x[2,3] ; perm=0 => expected all 2", "x[2,3] ; perm=0,0 => named twice",
                                     "x[2,3] ; perm=0,2 => axis 2 is outside",
                                     "x[2,3] ; perm=0,1,2 => axis 2 is outside", NULL};

const rt_op rt_op_row_transpose = {
    .name = "transpose",
    .summary = "y = x with its axes in another order",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_transpose_attr),
    .n_out = 1,
    .moves = RT_OP(transpose),
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases,
    .errors = errors,
};
