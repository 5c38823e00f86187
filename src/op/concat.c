/* concat: y = the x one behind the other along an axis. Their sizes there may be symbols, so the gradient is not a slice
 * from place to place: concat_backward cuts dy into pieces of the shapes of the x. */
#include "op/layer.h"

static const rt_option options[] = {
    {"axis", RT_OPT_INT, offsetof(rt_axis_attr, axis), .fallback = "0", .help = "along which they are joined"}, {0}};

/* Type of inputs first … joined. */
static rt_status infer_joined(const rt_infer *c, int first, rt_type *out) {
  int axis;
  *out = *c->in[first];
  rt_status s = rt_infer_axis(c, ((const rt_axis_attr *)c->attr)->axis, out->rank, &axis);
  for (int i = first + 1; s == RT_OK && i < c->n_in; i++) {
    const rt_type *x = c->in[i];
    s = rt_infer_rank(c, i, out->rank, out->rank);
    if (s == RT_OK) s = rt_infer_same_dtype(c, first, i);
    for (int d = 0; s == RT_OK && d < out->rank; d++) {
      if (d != axis) s = rt_infer_same(c, first, d, i, d);
      out->dim[d] = d == axis ? rt_dim_add(c, out->dim[d], x->dim[d]) : rt_dim_known(out->dim[d], x->dim[d]);
    }
  }
  return s;
}

static rt_status infer(rt_infer *c) { return infer_joined(c, 0, c->out); }

static void grad(rt_grad *c) {
  const rt_node *node = c->node;
  int n = node->n_in;
  rt_value **in = rt_arena_alloc(&c->graph->arena, (size_t)(n + 1) * sizeof *in);
  if (!in) {
    rt_graph_failed(c->graph, RT_E_MEMORY);
    return;
  }
  in[0] = c->dy[0];
  for (int i = 0; i < n; i++) in[i + 1] = node->in[i];
  rt_value *first = rt_graph_add(c->graph, RT_OP(concat_backward), NULL, in, n + 1, node->attr);
  for (int i = 0; first && i < n; i++)
    if (c->want[i]) c->dx[i] = first->node->out[i];
}

/* The part of the joined tensor that is piece's, the next from *at on. */
static rt_tensor part(const rt_call *c, const rt_tensor *joined, const rt_tensor *piece, int64_t *at) {
  int axis = rt_axis(((const rt_axis_attr *)c->attr)->axis, joined->rank);
  rt_tensor view = rt_view_slice(joined, axis, *at, piece->dim[axis], 1);
  *at += piece->dim[axis];
  return view;
}

static rt_status reference(const rt_call *c) {
  int64_t at = 0;
  for (int i = 0; i < c->n_in; i++) {
    rt_tensor y = part(c, c->out, c->in[i], &at);
    rt_copy(c->in[i], &y);
  }
  return RT_OK;
}

static int outputs_backward(const void *attr, int n_in) {
  (void)attr;
  return n_in - 1;
}

static rt_status infer_backward(rt_infer *c) {
  rt_type joined;
  rt_status s = infer_joined(c, 1, &joined);
  if (s != RT_OK) return s;
  for (int i = 0; i < c->n_out; i++) {
    c->out[i] = *c->in[i + 1];
    c->out[i].dtype = c->in[0]->dtype;
  }
  return rt_infer_shape(c, 0, joined.rank, joined.dim);
}

static rt_status reference_backward(const rt_call *c) {
  int64_t at = 0;
  for (int i = 0; i < c->n_out; i++) {
    rt_tensor dy = part(c, c->in[0], &c->out[i], &at);
    rt_copy(&dy, &c->out[i]);
  }
  return RT_OK;
}

static const char *const cases[] = {"x[3] x[4]",
                                    "x[2,3] x[2,5] x[2,1] ; axis=1",
                                    "x[2,3,7,5] x[2,1,7,5] ; axis=1",
                                    "x[1,3,7,5] x[1,3,7,2] ; axis=-1",
                                    "x[2,3]",
                                    "x[1,2,1,3,2] x[1,2,4,3,2] ; axis=2",
                                    "s64[3]<9 s64[2]<9",
                                    NULL};
static const char *const errors[] = {"x[2,3] x[2,4] ; => expected 3",  "x[2,3] x[3] ; => must have rank 2",
                                     "x[2] s64[2]<9 ; => same dtype",  "x[2] x[2] ; axis=1 => axis 1 is outside",
                                     "x[] x[] ; => axis 0 is outside", NULL};
static const char *const cases_backward[] = {"x[7] x[3] x[4]", "x[2,9] x[2,3] x[2,5] x[2,1] ; axis=1",
                                             "x[2,4,7,5] x[2,3,7,5] x[2,1,7,5] ; axis=1", "x[1,3,7] x[1,3,7] ; axis=-1",
                                             NULL};
static const char *const errors_backward[] = {"x[6] x[3] x[4] ; => dy must be", "x[5,3] x[2,3] x[3,2] ; => expected 3",
                                              NULL};

const rt_op rt_op_row_concat = {
    .name = "concat",
    .regrids = RT_OP(concat),
    .summary = "y = the x one behind the other along an axis",
    .input_names = "x*",
    .options = options,
    .attr_size = sizeof(rt_axis_attr),
    .n_out = 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_concat_backward = {
    .name = "concat_backward",
    .summary = "dy cut along an axis into pieces of the shapes of the x",
    .input_names = "dy x*",
    .options = options,
    .attr_size = sizeof(rt_axis_attr),
    .n_out = -1,
    .outputs = outputs_backward,
    .shape_only = ~1u,
    .infer = infer_backward,
    .reference = reference_backward,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases_backward,
    .errors = errors_backward,
};
