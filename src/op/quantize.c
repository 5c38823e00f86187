/* quantize: q = clamp(z + rint(x·(1/s)), 0, high), u8;  dequantize: y = s·(q − z). Any shape. */
#include "op/row.h"

#include <math.h>

#define FIELD(name) offsetof(rt_quantize_attr, name)
static const rt_option options[] = {
    {"scale", RT_OPT_FLOAT, FIELD(scale), .min = 1e-30, .max = 3e38, .help = "between neighbouring levels"},
    {"zero_point", RT_OPT_INT, FIELD(zero_point), .fallback = "0", 0, 255, .help = "the level of 0"},
    {"high", RT_OPT_INT, FIELD(high), .fallback = "255", 1, 255, .help = "the highest level"},
    {0},
};

static rt_status infer_quantize(rt_infer *c) {
  c->out[0] = *c->in[0];
  c->out->dtype = RT_U8;
  return rt_infer_float(c, 0);
}

static rt_status infer_dequantize(rt_infer *c) {
  c->out[0] = *c->in[0];
  c->out->dtype = RT_F32;
  if (c->in[0]->dtype == RT_U8) return RT_OK;
  return rt_infer_fail(c, "x must be u8, found %s", rt_dtype_name(c->in[0]->dtype));
}

static rt_status reference_quantize(const rt_call *c) {
  const rt_quantize_attr *a = c->attr;
  float inverse = 1 / (float)a->scale;
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) {
    double q = (double)nearbyintf((float)rt_get(c->in[0], i) * inverse) + (double)a->zero_point;
    rt_put(c->out, i, fmin(fmax(q, 0), (double)a->high));
  }
  return RT_OK;
}

static rt_status reference_dequantize(const rt_call *c) {
  const rt_quantize_attr *a = c->attr;
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++)
    rt_put(c->out, i, (double)((float)a->scale * (float)(rt_get(c->in[0], i) - (double)a->zero_point)));
  return RT_OK;
}

static const char *const cases_quantize[] = {"f[33] ; scale=0.02 zero_point=128", "f[2,3,7,5] ; scale=0.011 high=127",
                                             "f[4,8,9,9] ; scale=0.01 zero_point=3", NULL};
static const char *const errors_quantize[] = {"u8[3] ; scale=1 => floating", "x[3] ; => scale must be given",
                                              "x[3] ; scale=0 => scale", NULL};
static const char *const cases_dequantize[] = {"u8[33]<256 ; scale=0.02 zero_point=128", "u8[2,3,7,5]<256 ; scale=0.5",
                                               "u8[4,8,9,9]<256 ; scale=0.01 zero_point=3", NULL};
static const char *const errors_dequantize[] = {"x[3] ; scale=1 => x must be u8", NULL};

const rt_op rt_op_row_quantize = {
    .name = "quantize",
    .summary = "q = clamp(zero_point + rint(x/scale), 0, high), u8",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_quantize_attr),
    .n_out = 1,
    .infer = infer_quantize,
    .reference = reference_quantize,
    .layout = RT_LAYOUT_FOLLOW,
    .cases = cases_quantize,
    .errors = errors_quantize,
};

const rt_op rt_op_row_dequantize = {
    .name = "dequantize",
    .summary = "y = scale·(q − zero_point), f32",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_quantize_attr),
    .n_out = 1,
    .infer = infer_dequantize,
    .reference = reference_dequantize,
    .layout = RT_LAYOUT_FOLLOW,
    .cases = cases_dequantize,
    .errors = errors_dequantize,
};
