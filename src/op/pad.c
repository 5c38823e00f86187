/* y = x with a frame of a constant; pad_backward: dx = dy without the frame. */
#include "op/layer.h"

static const rt_option options[] = {
    {"pads", RT_OPT_INTS, offsetof(rt_pad_attr, pads), .max = 1e18,
     .help = "before and after, axis by axis from the first"},
    {"value", RT_OPT_FLOAT, offsetof(rt_pad_attr, value), .fallback = "0", .help = "of the frame"},
    {0}};

static rt_status infer_padded(const rt_infer *c, const rt_type *x, rt_type *out) {
  const rt_ints *pads = &((const rt_pad_attr *)c->attr)->pads;
  char text[RT_TYPE_TEXT];
  *out = *x;
  if (pads->n != 2 * x->rank)
    return rt_infer_fail(c, "%d pads were given, expected %d: before and after for each axis of %s", pads->n,
                         2 * x->rank, rt_type_text(c->graph, x, text, sizeof text));
  for (int d = 0; d < x->rank; d++) out->dim[d] = rt_dim_add(c, x->dim[d], pads->v[2 * d] + pads->v[2 * d + 1]);
  return RT_OK;
}

static rt_status infer(rt_infer *c) { return infer_padded(c, c->in[0], c->out); }

static rt_status infer_backward(rt_infer *c) {
  rt_type padded;
  rt_status s = infer_padded(c, c->in[1], &padded);
  if (s != RT_OK) return s;
  *c->out = *c->in[1];
  c->out->dtype = c->in[0]->dtype;
  return rt_infer_shape(c, 0, padded.rank, padded.dim);
}

static void grad(rt_grad *c) {
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, RT_OP(pad_backward), NULL, c->node->attr, 2, c->dy[0], c->node->in[0]);
}

/* What the frame of `padded` leaves for `inside`. */
static rt_tensor interior(const rt_call *c, const rt_tensor *padded, const rt_tensor *inside) {
  const rt_ints *pads = &((const rt_pad_attr *)c->attr)->pads;
  rt_tensor view = *padded;
  for (int d = 0; d < padded->rank; d++) view = rt_view_slice(&view, d, pads->v[2 * d], inside->dim[d], 1);
  return view;
}

static rt_status reference(const rt_call *c) {
  rt_tensor inside = interior(c, c->out, c->in[0]);
  rt_fill(c->out, ((const rt_pad_attr *)c->attr)->value);
  rt_copy(c->in[0], &inside);
  return RT_OK;
}

static rt_status reference_backward(const rt_call *c) {
  rt_tensor inside = interior(c, c->in[0], c->out);
  rt_copy(&inside, c->out);
  return RT_OK;
}

static const char *const cases[] = {"x[33] ; pads=1,2",
                                    "x[2,3,7,5] ; pads=0,0,0,0,1,1,2,0",
                                    "x[1,1] ; pads=0,3,1,0 value=-2.5",
                                    "x[2,3] ; pads=0,0,0,0",
                                    "x[] ; pads=",
                                    "s64[3]<9 ; pads=1,1 value=7",
                                    NULL};
static const char *const errors[] = {"x[2,3] ; pads=1,1 => expected 4", "x[3] ; pads=-1,0 => at least 0",
                                     "x[3] ; => pads must be given", NULL};
static const char *const cases_backward[] = {"x[36] x[33] ; pads=1,2", "x[2,3,9,7] x[2,3,7,5] ; pads=0,0,0,0,1,1,2,0",
                                             "x[4,2] x[1,1] ; pads=0,3,1,0", NULL};
static const char *const errors_backward[] = {"x[3] x[3] ; pads=1,0 => dy must be", "x[3] x[3] ; pads=1 => expected 2",
                                              NULL};

const rt_op rt_op_row_pad = {
    .name = "pad",
    .summary = "y = x with a frame of a constant around it",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_pad_attr),
    .n_out = 1,
    .moves = RT_OP(pad),
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_pad_backward = {
    .name = "pad_backward",
    .summary = "dx = dy without the frame; dx of the shape of like",
    .input_names = "dy like",
    .options = options,
    .attr_size = sizeof(rt_pad_attr),
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
