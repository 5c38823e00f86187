/* y = x, its elements in another order in memory. The layout pass makes these, after differentiation. */
#include "op/row.h"

static const rt_option options[] = {{"layout", RT_OPT_CHOICE, offsetof(rt_reorder_attr, layout),
                                     .choices = "row_major|channels_last", .help = "of the result"},
                                    {0}};

static rt_status infer(rt_infer *c) {
  const rt_reorder_attr *attr = c->attr;
  c->out[0] = *c->in[0];
  return attr->layout == RT_CHANNELS_LAST ? rt_infer_rank(c, 0, 4, 4) : RT_OK;
}

static rt_status reference(const rt_call *c) {
  rt_copy(c->in[0], c->out);
  return RT_OK;
}

static const char *const cases[] = {"x[2,3,7,5] ; layout=channels_last",      "x[2,3,7,5] ; layout=row_major",
                                    "x[1,1,7,5] ; layout=channels_last",      "x[33] ; layout=row_major",
                                    "u8[2,3,7,5]<256 ; layout=channels_last", NULL};
static const char *const errors[] = {"x[2,3] ; layout=channels_last => rank 4", "x[2,3] ; => layout must be given",
                                     NULL};

const rt_op rt_op_row_reorder = {
    .name = "reorder",
    .summary = "y = x in another memory layout",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_reorder_attr),
    .n_out = 1,
    .infer = infer,
    .reference = reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases,
    .errors = errors,
};
