/* Levels of some grids to levels of another, without weights, in f32:
 *   requantize: y = clamp(zero_point + rint((x − from)·scale), 0, high)
 *   add_int8:   y = clamp(zero_point + rint((a − from)·scale + (b − from_2)·scale_2), 0, high), fused multiplication and sum
 * scale is what a level of the input is worth in levels of the result. */
#include "op/layer.h"

#include <math.h>

static const rt_option options[] = {RT_REGRID_OPTIONS, {0}};
static const rt_option sum_options[] = {
    RT_REGRID_OPTIONS,
    {"scale_2", RT_OPT_FLOAT, offsetof(rt_regrid_attr, scale[1]), "1", 0, 3e38, .help = "the same of the second input"},
    {"from_2", RT_OPT_INT, offsetof(rt_regrid_attr, from[1]), "0", 0, 255, .help = "the second input's level of 0"},
    {0},
};

static rt_status infer(rt_infer *c) {
  for (int i = 0; i < c->n_in; i++)
    if (c->in[i]->dtype != RT_U8) return rt_infer_expected(c, i, "u8");
  c->out[0] = *c->in[0];
  return c->n_in > 1 ? rt_infer_same_shape(c, 0, 1) : RT_OK;
}

static rt_status reference(const rt_call *c) {
  const rt_regrid_attr *a = c->attr;
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) {
    float v = (float)(rt_get(c->in[0], i) - (double)a->from[0]), more = 0;
    if (c->n_in > 1) more = (float)(rt_get(c->in[1], i) - (double)a->from[1]) * (float)a->scale[1];
    rt_put(c->out, i, rt_regrid_level(a, fmaf(v, (float)a->scale[0], more)));
  }
  return RT_OK;
}

static const char *const cases[] = {"u8[33]<256 ; scale=0.37 from=12 zero_point=3",
                                    "u8[2,3,7,5]<256 ; scale=1.9 high=127", "u8[4,8,9,9]<256 ; scale=0.5 from=128",
                                    NULL};
static const char *const sum_cases[] = {
    "u8[33]<256 u8[33]<256 ; scale=0.37 from=12 scale_2=0.8 from_2=7 zero_point=3",
    "u8[2,3,7,5]<256 u8[2,3,7,5]<256 ; scale=1.9 scale_2=0.25 from_2=255 high=127",
    "u8[4,8,9,9]<256 u8[4,8,9,9]<256 ; scale=0.5 scale_2=0.5 from=128 zero_point=100", NULL};
static const char *const errors[] = {"x[3] ; => x must be u8", NULL};
static const char *const sum_errors[] = {"u8[3] x[3] ; => b must be u8", "u8[3] u8[4] ; => the same shape", NULL};

const rt_op rt_op_row_requantize = {
    .name = "requantize",
    .summary = "levels of one grid to levels of another, u8",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_regrid_attr),
    .n_out = 1,
    .infer = infer,
    .reference = reference,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_FOLLOW,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_add_int8 = {
    .name = "add_int8",
    .summary = "a + b of levels of two grids, as levels of a third, u8",
    .input_names = "a b",
    .options = sum_options,
    .attr_size = sizeof(rt_regrid_attr),
    .n_out = 1,
    .infer = infer,
    .reference = reference,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_FOLLOW,
    .cases = sum_cases,
    .errors = sum_errors,
};
