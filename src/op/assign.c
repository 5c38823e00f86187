/* variable <- value, the only effect there is: everything else in the step reads the variable's old value. */
#include "op/row.h"

static rt_status infer(rt_infer *c) {
  c->out[0] = *c->in[0];
  rt_status s = rt_infer_same_dtype(c, 0, 1);
  return s == RT_OK ? rt_infer_same_shape(c, 0, 1) : s;
}

/* The plan makes the output the variable's own memory. */
static rt_status reference(const rt_call *c) {
  rt_copy(c->in[1], c->out);
  return RT_OK;
}

static const char *const cases[] = {"f[]v! f[]!", "f[2,3,7,5]v! f[2,3,7,5]!", "s64[3]<9v s64[3]<9", NULL};
static const char *const errors[] = {"f[3]v f[4] ; => same shape", "f[3]v f[1,3] ; => same shape",
                                     "f[3]v s64[3]<9 ; => same dtype", NULL};

const rt_op rt_op_row_assign = {
    .name = "assign",
    .summary = "variable <- value, at the end of the step; y = value",
    .input_names = "variable value",
    .n_out = 1,
    .infer = infer,
    .reference = reference,
    .inplace = rt_inplace_first,
    .effect = true,
    .layout = RT_LAYOUT_ROW_MAJOR,
    .precision = RT_PRECISION_F32,
    .flops = rt_flops_none,
    .cases = cases,
    .errors = errors,
};
