/* Over the given axes (none given: all of them), which vanish, or stay with dimension 1:
 *   sum, mean, and max, whose gradient is shared evenly by the elements that attain it, as by PyTorch's amax. */
#include "op/layer.h"

static const rt_option options[] = {
    {"axes", RT_OPT_INTS, offsetof(rt_reduce_attr, axes), .fallback = "", .help = "what to reduce; empty: all axes"},
    {"keepdim", RT_OPT_BOOL, offsetof(rt_reduce_attr, keepdim), .fallback = "false",
     .help = "keep them, with dimension 1"},
    {0}};

static unsigned mask_of(const rt_call *c) {
  const rt_reduce_attr *attr = c->attr;
  return rt_axes_mask(&attr->axes, c->in[0]->rank);
}

static rt_status infer(rt_infer *c) {
  const rt_reduce_attr *attr = c->attr;
  unsigned mask;
  rt_status s = rt_infer_float(c, 0);
  if (s == RT_OK) s = rt_infer_axes(c, &attr->axes, c->in[0]->rank, &mask);
  if (s == RT_OK) c->out[0] = rt_reduced_type(c->in[0], mask, attr->keepdim);
  return s;
}

static void expand(rt_grad *c, bool mean) {
  rt_expand_to_attr attr = {*(const rt_reduce_attr *)c->node->attr, mean};
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, RT_OP(expand_to), NULL, &attr, 2, c->dy[0], c->node->in[0]);
}

static void sum_grad(rt_grad *c) { expand(c, false); }
static void mean_grad(rt_grad *c) { expand(c, true); }

static void max_grad(rt_grad *c) {
  if (!c->want[0]) return;
  c->dx[0] = rt_emit(c->graph, RT_OP(max_backward), NULL, c->node->attr, 3, c->dy[0], c->node->in[0], c->node->out[0]);
}

static rt_status sum_reference(const rt_call *c) {
  rt_sum_axes(c->in[0], mask_of(c), 1, c->out);
  return RT_OK;
}

static rt_status mean_reference(const rt_call *c) {
  double count = (double)rt_tensor_elements(c->in[0]) / (double)rt_tensor_elements(c->out);
  rt_sum_axes(c->in[0], mask_of(c), 1 / count, c->out);
  return RT_OK;
}

static rt_status max_reference(const rt_call *c) {
  const rt_tensor *x = c->in[0];
  rt_tensor kept = rt_view_axes(x, ~mask_of(c)), reduced = rt_view_axes(x, mask_of(c));
  for (int64_t i = 0, n = rt_tensor_elements(&kept); i < n; i++) {
    int64_t at = rt_tensor_offset(&kept, i);
    double best = rt_load(x, at);
    for (int64_t j = 1; j < rt_tensor_elements(&reduced); j++) {
      double v = rt_load(x, at + rt_tensor_offset(&reduced, j));
      if (v > best || v != v) best = v; /* a NaN stays */
    }
    rt_put(c->out, i, best);
  }
  return RT_OK;
}

/* dy, x, y: y as max made it from x, dy of its shape. */
static rt_status infer_backward(rt_infer *c) {
  const rt_reduce_attr *attr = c->attr;
  unsigned mask;
  rt_status s = rt_infer_float(c, 1);
  if (s == RT_OK) s = rt_infer_axes(c, &attr->axes, c->in[1]->rank, &mask);
  if (s == RT_OK) s = rt_infer_same_dtype(c, 0, 1);
  if (s == RT_OK) s = rt_infer_same_dtype(c, 1, 2);
  if (s == RT_OK) s = rt_infer_same_shape(c, 0, 2);
  if (s != RT_OK) return s;
  rt_type y = rt_reduced_type(c->in[1], mask, attr->keepdim);
  c->out[0] = *c->in[1];
  return rt_infer_shape(c, 0, y.rank, y.dim);
}

static rt_status reference_backward(const rt_call *c) {
  const rt_reduce_attr *attr = c->attr;
  const rt_tensor *x = c->in[1];
  unsigned mask = rt_axes_mask(&attr->axes, x->rank);
  rt_tensor kept = rt_view_axes(x, ~mask), reduced = rt_view_axes(x, mask);
  rt_tensor kept_dx = rt_view_axes(c->out, ~mask), reduced_dx = rt_view_axes(c->out, mask);
  int64_t n = rt_tensor_elements(&reduced);
  for (int64_t i = 0; i < rt_tensor_elements(&kept); i++) {
    int64_t at = rt_tensor_offset(&kept, i), at_dx = rt_tensor_offset(&kept_dx, i), ties = 0;
    double best = rt_get(c->in[2], i);
    for (int64_t j = 0; j < n; j++) ties += rt_load(x, at + rt_tensor_offset(&reduced, j)) == best;
    double share = ties ? rt_get(c->in[0], i) / (double)ties : 0;
    for (int64_t j = 0; j < n; j++) {
      bool tied = rt_load(x, at + rt_tensor_offset(&reduced, j)) == best;
      rt_store_at(c->out, at_dx + rt_tensor_offset(&reduced_dx, j), tied ? share : 0);
    }
  }
  return RT_OK;
}

static const char *const cases[] = {"x[]~",
                                    "x[33]~",
                                    "x[2,3,7,5]~",
                                    "x[2,3,7,5]~ ; axes=1",
                                    "x[2,3,7,5]~ ; axes=2,3 keepdim",
                                    "x[2,3,7,5]~ ; axes=-1,0",
                                    "x[1,1]~ ; axes=0",
                                    "x[4,1,6]~ ; axes=1 keepdim",
                                    "x[2,1,3,2,5]~ ; axes=4,2",
                                    "x[3,5]~ ; keepdim",
                                    NULL};
static const char *const cases_backward[] = {"x[5] x[3,5]=1 x[5]=1 ; axes=0", "x[] x[2,3]=1 x[]=1",
                                             "x[3,1] x[3,5]=2 x[3,1]=2 ; axes=1 keepdim",
                                             "x[2,3] x[2,3,7,5]=1 x[2,3]=1 ; axes=-1,2", NULL};
static const char *const errors[] = {"x[2,3] ; axes=2 => axis 2 is outside",
                                     "x[2,3] ; axes=-3 => axis -3 is outside",
                                     "x[2,3] ; axes=1,-1 => named twice",
                                     "x[] ; axes=0 => axis 0 is outside",
                                     "s64[3]<9 ; => floating",
                                     NULL};
static const char *const errors_backward[] = {"x[2] x[2,3] x[3] ; axes=1 => same shape",
                                              "x[3] x[2,3] x[3] ; axes=1 => dy must be",
                                              "x[2] x[2,3] x[2] ; axes=2 => axis 2 is outside", NULL};

#define REDUCE(name_, formula) \
  const rt_op rt_op_row_##name_ = { \
      .name = #name_, \
      .summary = formula, \
      .input_names = "x", \
      .options = options, \
      .attr_size = sizeof(rt_reduce_attr), \
      .n_out = 1, \
      .infer = infer, \
      .grad = name_##_grad, \
      .reference = name_##_reference, \
      .layout = RT_LAYOUT_FOLLOW, \
      .precision = RT_PRECISION_FOLLOW, \
      .flops = rt_flops_first, \
      .cases = cases, \
      .errors = errors, \
  };

REDUCE(sum, "y = sum of x over axes")
REDUCE(mean, "y = mean of x over axes")
REDUCE(max, "y = largest of x over axes")

const rt_op rt_op_row_max_backward = {
    .name = "max_backward",
    .summary = "dx = dy where x is the largest, shared evenly between equals",
    .input_names = "dy x y",
    .options = options,
    .attr_size = sizeof(rt_reduce_attr),
    .n_out = 1,
    .infer = infer_backward,
    .reference = reference_backward,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases_backward,
    .errors = errors_backward,
};
