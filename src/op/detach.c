/* y = x, and no gradient passes. Images come channels last whatever their order before: a teacher's layers are compared to the
 * same bits, computed in the graph or fed. */
#include "op/row.h"

static rt_status infer(rt_infer *c) {
  c->out[0] = *c->in[0];
  return RT_OK;
}

/* Emits nothing, so whatever is behind gets nothing. */
static void grad(rt_grad *c) { (void)c; }

static rt_status reference(const rt_call *c) {
  rt_copy(c->in[0], c->out);
  return RT_OK;
}

static const char *const cases[] = {"x[]!", "x[33]!", "x[2,3,7,5]!", "s64[4]<9", NULL};

const rt_op rt_op_row_detach = {
    .name = "detach",
    .summary = "y = x, but no gradient passes",
    .input_names = "x",
    .n_out = 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .view = true,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases,
};
