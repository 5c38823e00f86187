/* sum_to and expand_to: a value takes the shape of another, of which nothing but the shape is read.
 *   sum_to     g summed over whatever broadcasting had repeated; the gradient of broadcasting
 *   expand_to  g repeated over the shape of `like`: by NumPy's broadcasting, or, where axes or mean are given, as what
 *              a reduction of `like` over these axes has left; the gradient of sum and mean */
#include "op/layer.h"

/* May `small` have been broadcast to `large`? */
static rt_status infer_broadcasts(const rt_infer *c, const rt_type *small, const rt_type *large) {
  char ts[RT_TYPE_TEXT], tl[RT_TYPE_TEXT];
  int lead = large->rank - small->rank;
  bool fits = lead >= 0;
  for (int d = 0; fits && d < small->rank; d++)
    fits = small->dim[d] == 1 || !rt_dims_conflict(small->dim[d], large->dim[d + lead]);
  if (fits) return RT_OK;
  return rt_infer_fail(c, "%s does not broadcast to %s", rt_type_text(c->graph, small, ts, sizeof ts),
                       rt_type_text(c->graph, large, tl, sizeof tl));
}

/* ---- sum_to ---- */

static const rt_option sum_options[] = {{"f32", RT_OPT_BOOL, offsetof(rt_sum_to_attr, f32), .fallback = "false",
                                         .help = "the sum is f32, whatever comes in"},
                                        {0}};

static rt_status sum_infer(rt_infer *c) {
  const rt_sum_to_attr *attr = c->attr;
  c->out[0] = *c->in[1];
  c->out->dtype = attr->f32 ? rt_wide(c->in[0]->dtype) : c->in[0]->dtype;
  rt_status s = rt_infer_float(c, 0);
  return s == RT_OK ? infer_broadcasts(c, c->in[1], c->in[0]) : s;
}

static void sum_grad(rt_grad *c) {
  rt_value *g = c->node->in[0];
  rt_cast_attr back = {.dtype = (int)g->type.dtype};
  if (!c->want[0]) return;
  c->dx[0] = rt_emit(c->graph, RT_OP(expand_to), NULL, &(rt_expand_to_attr){0}, 2, c->dy[0], g);
  if (c->node->out[0]->type.dtype != g->type.dtype) c->dx[0] = rt_emit(c->graph, RT_OP(cast), NULL, &back, 1, c->dx[0]);
}

static rt_status sum_reference(const rt_call *c) {
  const rt_tensor *g = c->in[0], *y = c->out;
  int lead = g->rank - y->rank;
  unsigned mask = 0;
  for (int d = 0; d < g->rank; d++)
    if (d < lead || y->dim[d - lead] == 1) mask |= 1u << d;
  rt_sum_axes(g, mask, 1, y);
  return RT_OK;
}

static const char *const sum_cases[] = {"x[] x[]!",
                                        "x[7,5] x[]!",
                                        "x[2,3,7,5] x[3,1,1]!",
                                        "x[2,3,7,5] x[5]!",
                                        "x[4,6] x[4,6]!",
                                        "x[4,6] x[4,1]!",
                                        "x[2,3,7,5] x[1,3,1,1]!",
                                        "x[33,10] x[10]! ; f32",
                                        "x[1,1,6] x[1,1]! ; f32",
                                        NULL};
static const char *const sum_errors[] = {"x[2,3] x[2] ; => does not broadcast", "x[3] x[2,3] ; => does not broadcast",
                                         "s64[3]<9 x[] ; => floating", NULL};

const rt_op rt_op_row_sum_to = {
    .name = "sum_to",
    .summary = "y = g summed down to the shape of like, the inverse of broadcasting",
    .input_names = "g like",
    .options = sum_options,
    .attr_size = sizeof(rt_sum_to_attr),
    .n_out = 1,
    .shape_only = 1u << 1,
    .infer = sum_infer,
    .grad = sum_grad,
    .reference = sum_reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_first,
    .cases = sum_cases,
    .errors = sum_errors,
};

/* ---- expand_to ---- */

static const rt_option expand_options[] = {
    {"axes", RT_OPT_INTS, offsetof(rt_expand_to_attr, reduce.axes), .fallback = "", .help = "that had been reduced"},
    {"keepdim", RT_OPT_BOOL, offsetof(rt_expand_to_attr, reduce.keepdim), .fallback = "false",
     .help = "they are there, with dimension 1"},
    {"mean", RT_OPT_BOOL, offsetof(rt_expand_to_attr, mean), .fallback = "false",
     .help = "divide by how often each element is repeated"},
    {0}};

static bool undoes_reduction(const rt_expand_to_attr *attr) { return attr->reduce.axes.n || attr->mean; }

static rt_status expand_infer(rt_infer *c) {
  const rt_expand_to_attr *attr = c->attr;
  unsigned mask;
  c->out[0] = *c->in[1];
  c->out->dtype = c->in[0]->dtype;
  rt_status s = rt_infer_float(c, 0);
  if (s == RT_OK) s = rt_infer_axes(c, &attr->reduce.axes, c->in[1]->rank, &mask);
  if (s != RT_OK) return s;
  if (!undoes_reduction(attr)) return infer_broadcasts(c, c->in[0], c->in[1]);
  rt_type reduced = rt_reduced_type(c->in[1], mask, attr->reduce.keepdim);
  return rt_infer_shape(c, 0, reduced.rank, reduced.dim);
}

static void expand_grad(rt_grad *c) {
  const rt_expand_to_attr *attr = c->node->attr;
  if (!c->want[0]) return;
  if (undoes_reduction(attr))
    c->dx[0] = rt_emit(c->graph, attr->mean ? RT_OP(mean) : RT_OP(sum), NULL, &attr->reduce, 1, c->dy[0]);
  else
    c->dx[0] = rt_emit_sum_to(c->graph, c->dy[0], c->node->in[0]);
}

/* The reduced axes put back with dimension 1. */
static rt_tensor unsqueeze(const rt_tensor *g, unsigned mask, int rank) {
  rt_tensor view = {.dtype = g->dtype, .rank = rank, .data = g->data};
  for (int d = 0, from = 0; d < rank; d++) {
    bool reduced = mask >> d & 1;
    view.dim[d] = reduced ? 1 : g->dim[from];
    view.stride[d] = reduced ? 0 : g->stride[from];
    from += !reduced;
  }
  return view;
}

static rt_status expand_reference(const rt_call *c) {
  const rt_expand_to_attr *attr = c->attr;
  const rt_ints *axes = &attr->reduce.axes;
  rt_tensor g = *c->in[0];
  int64_t n = rt_tensor_elements(c->out);
  double count = attr->mean ? (double)n / (double)rt_tensor_elements(&g) : 1;
  if (axes->n && !attr->reduce.keepdim) g = unsqueeze(&g, rt_axes_mask(axes, c->out->rank), c->out->rank);
  g = rt_view_broadcast(&g, c->out);
  for (int64_t i = 0; i < n; i++) rt_put(c->out, i, rt_get(&g, i) / count);
  return RT_OK;
}

static const char *const expand_cases[] = {"x[] x[2,3,7,5]!",
                                           "x[] x[33]! ; mean",
                                           "x[3,1,1] x[2,3,7,5]!",
                                           "x[1,4] x[3,4]!",
                                           "x[2,3] x[2,3,7,5]! ; axes=2,3 mean",
                                           "x[2,7,5] x[2,3,7,5]! ; axes=1",
                                           "x[2,1,1,5] x[2,3,7,5]! ; axes=2,-3 keepdim mean",
                                           "x[1,1] x[3,5]! ; keepdim mean",
                                           "x[4] x[4,1]! ; axes=-1",
                                           NULL};
static const char *const expand_errors[] = {
    "x[2,3] x[3] ; => does not broadcast",       "x[2] x[3] ; => does not broadcast",
    "x[3] x[2,3] ; axes=1 => g must be",         "x[2] x[2,3] ; axes=1 keepdim => g must be",
    "x[2] x[2,3] ; axes=2 => axis 2 is outside", NULL};

const rt_op rt_op_row_expand_to = {
    .name = "expand_to",
    .summary = "y = g repeated over the shape of like, the inverse of a reduction",
    .input_names = "g like",
    .options = expand_options,
    .attr_size = sizeof(rt_expand_to_attr),
    .n_out = 1,
    .shape_only = 1u << 1,
    .infer = expand_infer,
    .grad = expand_grad,
    .reference = expand_reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = expand_cases,
    .errors = expand_errors,
};
