/* y = x in another dtype. Floats round to nearest even; to integers they lose their fraction and saturate. */
#include "op/row.h"

static const rt_option options[] = {{"dtype", RT_OPT_CHOICE, offsetof(rt_cast_attr, dtype),
                                     .choices = "f32|bf16|f16|f64|s64|s32|s8|u8|bool", .help = "of the result"},
                                    {0}};

static rt_status infer(rt_infer *c) {
  const rt_cast_attr *attr = c->attr;
  c->out[0] = *c->in[0];
  c->out->dtype = (rt_dtype)attr->dtype;
  return RT_OK;
}

static void grad(rt_grad *c) {
  rt_cast_attr back = {.dtype = (int)c->node->in[0]->type.dtype};
  if (!c->want[0]) return;
  bool same = c->dy[0] && (int)c->dy[0]->type.dtype == back.dtype;
  c->dx[0] = same ? c->dy[0] : rt_emit(c->graph, RT_OP(cast), NULL, &back, 1, c->dy[0]);
}

static rt_status reference(const rt_call *c) {
  rt_copy(c->in[0], c->out);
  return RT_OK;
}

static const char *const cases[] = {"x[2,3,7,5] ; dtype=f64",
                                    "x[] ; dtype=f64",
                                    "x[33]! ; dtype=f32",
                                    "x[2,3,7,5]! ; dtype=bf16",
                                    "x[1,5]! ; dtype=f16",
                                    "x[3,7]<9! ; dtype=s64",
                                    "x[3,7]<9! ; dtype=s32",
                                    "x[33]! ; dtype=s8",
                                    "x[33]<300! ; dtype=u8",
                                    "x[33]<9! ; dtype=bool",
                                    "s64[7]<99 ; dtype=f32",
                                    "s32[7]<99 ; dtype=bf16",
                                    "bool[7]<2 ; dtype=f32",
                                    "u8[2,3]<256 ; dtype=s8",
                                    "f[33]! ; dtype=bf16",
                                    "u8[2,5,7,3]<256 ; dtype=f32",
                                    "u8[3,40,20,21]<256 ; dtype=f32",
                                    NULL};
static const char *const errors[] = {"x[3] ; dtype=f8 => expected one of", "x[3] ; => dtype must be given", NULL};

const rt_op rt_op_row_cast = {
    .name = "cast",
    .summary = "y = x in another dtype",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_cast_attr),
    .n_out = 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
    .errors = errors,
};
