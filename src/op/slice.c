/* y = x[start:end:step] on one axis, as Python slices: ends beyond the axis are cut, negative ones count from its end.
 * slice_backward puts dy back where it came from, zeros elsewhere. */
#include "op/layer.h"

#define FIELD(name) offsetof(rt_slice_attr, name)
#define TO_THE_END "9223372036854775807"

static const rt_option options[] = {
    {"axis", RT_OPT_INT, FIELD(axis), .fallback = "0", .help = "that is cut"},
    {"start", RT_OPT_INT, FIELD(start), .fallback = "0", .help = "first index taken"},
    {"end", RT_OPT_INT, FIELD(end), .fallback = TO_THE_END, .help = "first index behind; default: the end of the axis"},
    {"step", RT_OPT_INT, FIELD(step), .fallback = "1", .min = 1, .max = 1e18, .help = "from index to index"},
    {0}};

static int64_t clip(int64_t i, int64_t dim) {
  if (i < 0) i += dim;
  return i < 0 ? 0 : i > dim ? dim : i;
}

static int64_t count(const rt_slice_attr *attr, int64_t dim) {
  int64_t start = clip(attr->start, dim), end = clip(attr->end, dim);
  return end > start ? (end - start - 1) / attr->step + 1 : 0;
}

static rt_status infer_sliced(const rt_infer *c, const rt_type *x, rt_type *out) {
  const rt_slice_attr *attr = c->attr;
  char text[RT_TYPE_TEXT];
  int axis;
  *out = *x;
  rt_status s = rt_infer_axis(c, attr->axis, x->rank, &axis);
  if (s != RT_OK) return s;
  rt_dim dim = x->dim[axis];
  if (attr->start == 0 && attr->end == INT64_MAX && attr->step == 1) return RT_OK;
  if (dim < 0)
    out->dim[axis] = rt_dim_derive(c, "%s[%lld:%lld:%lld]", rt_dim_text(c->graph, dim, text, sizeof text),
                                   (long long)attr->start, (long long)attr->end, (long long)attr->step);
  else
    out->dim[axis] = count(attr, dim);
  if (out->dim[axis] != 0) return RT_OK;
  return rt_infer_fail(c, "nothing is left of axis %d of %s from %lld to %lld", axis,
                       rt_type_text(c->graph, x, text, sizeof text), (long long)clip(attr->start, dim),
                       (long long)clip(attr->end, dim));
}

static rt_status infer(rt_infer *c) { return infer_sliced(c, c->in[0], c->out); }

static rt_status infer_backward(rt_infer *c) {
  rt_type sliced;
  rt_status s = infer_sliced(c, c->in[1], &sliced);
  if (s != RT_OK) return s;
  *c->out = *c->in[1];
  c->out->dtype = c->in[0]->dtype;
  return rt_infer_shape(c, 0, sliced.rank, sliced.dim);
}

static void grad(rt_grad *c) {
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, RT_OP(slice_backward), NULL, c->node->attr, 2, c->dy[0], c->node->in[0]);
}

static rt_tensor sliced_view(const rt_call *c, const rt_tensor *x) {
  const rt_slice_attr *attr = c->attr;
  int axis = rt_axis(attr->axis, x->rank);
  int64_t dim = x->dim[axis];
  return rt_view_slice(x, axis, clip(attr->start, dim), count(attr, dim), attr->step);
}

static rt_status reference(const rt_call *c) {
  rt_tensor x = sliced_view(c, c->in[0]);
  rt_copy(&x, c->out);
  return RT_OK;
}

static rt_status reference_backward(const rt_call *c) {
  rt_tensor dx = sliced_view(c, c->out);
  rt_fill(c->out, 0);
  rt_copy(c->in[0], &dx);
  return RT_OK;
}

static const char *const cases[] = {"x[33] ; start=5",
                                    "x[2,3,7,5] ; axis=2 start=1 end=-1",
                                    "x[2,3,7,5] ; axis=1 start=-1",
                                    "x[2,3,7,5] ; axis=3 start=0 end=100 step=2",
                                    "x[7] ; start=1 end=6 step=3",
                                    "x[7] ; start=-100 end=2",
                                    "x[1,4] ; axis=-1 end=1",
                                    "x[2,3]",
                                    "s64[9]<9 ; end=4",
                                    NULL};
static const char *const errors[] = {"x[3] ; start=3 => nothing is left", "x[3] ; start=2 end=1 => nothing is left",
                                     "x[3] ; axis=1 => axis 1 is outside", "x[3] ; step=0 => at least 1", NULL};
static const char *const cases_backward[] = {"x[28] x[33] ; start=5", "x[2,3,5,5] x[2,3,7,5] ; axis=2 start=1 end=-1",
                                             "x[2,3,7,3] x[2,3,7,5] ; axis=3 step=2",
                                             "x[2] x[7] ; start=1 end=6 step=3", NULL};
static const char *const errors_backward[] = {"x[27] x[33] ; start=5 => dy must be",
                                              "x[3] x[3] ; axis=1 => axis 1 is outside", NULL};

const rt_op rt_op_row_slice = {
    .name = "slice",
    .summary = "y = x[start:end:step] on one axis",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_slice_attr),
    .n_out = 1,
    .moves = RT_OP(slice),
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_slice_backward = {
    .name = "slice_backward",
    .summary = "dx[start:end:step] = dy on one axis, 0 elsewhere; dx of the shape of like",
    .input_names = "dy like",
    .options = options,
    .attr_size = sizeof(rt_slice_attr),
    .n_out = 1,
    .shape_only = 1u << 1,
    .infer = infer_backward,
    .reference = reference_backward,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases_backward,
    .errors = errors_backward,
};
