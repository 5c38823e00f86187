/* dropout (Srivastava et al. 2014): y_i = x_i/(1 − rate) where rt_uniform({seed, stream}, step, i) ≥ rate, or 0;
 * i counts elements in row-major logical order. The mask is no more than that, so dx is the same op on dy. */
#include "base/rng.h"
#include "op/layer.h"

static const rt_option options[] = {
    {"stream", RT_OPT_INT, offsetof(rt_dropout_attr, stream), "0", .help = "which draw: a hash of the layer's name"},
    {0},
};

static rt_status infer(rt_infer *c) {
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = rt_infer_scalar(c, 1))) return s;
  for (int i = 2; i < 4; i++)
    if (c->in[i]->rank != 0 || c->in[i]->dtype != RT_S64) return rt_infer_expected(c, i, "an s64 scalar");
  c->out[0] = *c->in[0];
  return RT_OK;
}

static void grad(rt_grad *c) {
  const rt_node *n = c->node;
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, n->op, NULL, n->attr, 4, c->dy[0], n->in[1], n->in[2], n->in[3]);
}

static rt_status reference(const rt_call *c) {
  const rt_tensor *x = c->in[0], *y = c->out;
  double rate = rt_load(c->in[1], 0);
  if (!(rate >= 0 && rate < 1))
    return rt_fail(RT_E_RANGE, "%s %s: rate is %g; it must be at least 0 and below 1", c->op->name, c->name, rate);
  rt_rng rng = {(uint64_t)rt_load_int(c->in[2], 0), (uint64_t)((const rt_dropout_attr *)c->attr)->stream};
  uint64_t step = (uint64_t)rt_load_int(c->in[3], 0);
  for (int64_t i = 0; i < rt_tensor_elements(x); i++) {
    bool keep = (double)rt_uniform(rng, step, (uint64_t)i) >= rate;
    rt_put(y, i, keep ? rt_get(x, i) / (1 - rate) : 0);
  }
  return RT_OK;
}

static const char *const cases[] = {
    "x[3,17] f[]=0.5! s64[]=7 s64[]=3 ; stream=5",
    "x[2,3,7,5] f[]=0.1! s64[]=1 s64[]=0",
    "x[33] f[]=0! s64[]=1 s64[]=2",
    NULL,
};

static const char *const errors[] = {
    "x[3,5] f[1]=0.5 s64[]=7 s64[]=3 ; => rate must be a floating scalar",
    "x[3,5] f[]=0.5 s32[]=7 s64[]=3 ; => seed must be an s64 scalar",
    "s64[3,5] f[]=0.5 s64[]=7 s64[]=3 ; => floating",
    NULL,
};

const rt_op rt_op_row_dropout = {
    .name = "dropout",
    .summary = "y = x/(1 − rate), or 0 with probability rate, drawn from seed, stream, step and element",
    .input_names = "x rate seed step",
    .options = options,
    .attr_size = sizeof(rt_dropout_attr),
    .n_out = 1,
    .f32_inputs = 1 << 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
    .errors = errors,
};
