/* expand: y = x repeated to another shape, as NumPy broadcasts; the gradient is the sum over what was repeated. A dimension
 * of the shape is a number, or one of `like`, of which nothing but the shape is read: so a batch stays open. */
#include "op/layer.h"

static const rt_option options[] = {{"shape", RT_OPT_INTS, offsetof(rt_reshape_attr, shape), .min = -RT_MAX_RANK,
                                     .max = 1e18,
                                     .help = "1 or more: the dimension; -1, -2 …: that of like's axis 0, 1 …"},
                                    {0}};

static rt_status infer(rt_infer *c) {
  const rt_ints *shape = &((const rt_reshape_attr *)c->attr)->shape;
  const rt_type *like = rt_infer_in(c, 1);
  rt_type target = {.dtype = c->in[0]->dtype, .rank = shape->n};
  if (shape->n > RT_MAX_RANK)
    return rt_infer_fail(c, "shape has %d dimensions, at most %d are possible", shape->n, RT_MAX_RANK);
  for (int d = 0; d < shape->n; d++) {
    int64_t n = shape->v[d];
    if (n == 0 || (n < 0 && (!like || -n > like->rank)))
      return rt_infer_fail(c, "dimension %d of the shape is %lld: expected a number above 0, or an axis of like", d,
                           (long long)n);
    target.dim[d] = n > 0 ? n : like->dim[-n - 1];
  }
  c->out->dtype = target.dtype;
  return rt_infer_broadcast(c, c->in[0], &target, c->out);
}

static void grad(rt_grad *c) {
  if (c->want[0]) c->dx[0] = rt_emit_sum_to(c->graph, c->dy[0], c->node->in[0]);
}

static rt_status reference(const rt_call *c) {
  rt_tensor x = rt_view_broadcast(c->in[0], c->out);
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) rt_move(&x, i, c->out, i);
  return RT_OK;
}

static const char *const cases[] = {"x[1,4] ; shape=3,4",       "x[] ; shape=2,5",
                                    "x[3,1,1] ; shape=2,1,1,5", "x[1,1,6] x[4,3]! ; shape=-1,1,6",
                                    "x[5] ; shape=1",           "x[33] x[2,7]! ; shape=-2,-1,33",
                                    "s64[1,3]<9 ; shape=2,3",   NULL};
static const char *const errors[] = {"x[3] ; shape=4 => do not broadcast", "x[1] ; shape=0 => above 0",
                                     "x[1] ; shape=-1 => an axis of like", "x[1] x[2] ; shape=-2 => an axis of like",
                                     NULL};

const rt_op rt_op_row_expand = {
    .name = "expand",
    .summary = "y = x repeated to a shape, as NumPy broadcasts",
    .input_names = "x like?",
    .options = options,
    .attr_size = sizeof(rt_reshape_attr),
    .n_out = 1,
    .shape_only = 1u << 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases,
    .errors = errors,
};
