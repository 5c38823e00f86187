/* quantize: q = clamp(z + rint(x·(1/s)), 0, high), u8;  dequantize: y = s·(q − z). Any shape. quantize_by: s and z are
 * inputs. */
#include "op/layer.h"

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

static rt_status infer_quantize_by(rt_infer *c) {
  rt_type scalar = rt_type_of(RT_F32, 0, NULL);
  char text[RT_TYPE_TEXT];
  for (int i = 1; i < 3; i++)
    if (c->in[i]->rank != 0 || c->in[i]->dtype != RT_F32)
      return rt_infer_expected(c, i, rt_type_text(c->graph, &scalar, text, sizeof text));
  return infer_quantize(c);
}

static rt_status quantize(const rt_call *c, double scale, double zero_point, int64_t high) {
  float inverse = 1 / (float)scale;
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) {
    double q = (double)nearbyintf((float)rt_get(c->in[0], i) * inverse) + zero_point;
    rt_put(c->out, i, fmin(fmax(q, 0), (double)high));
  }
  return RT_OK;
}

static rt_status reference_quantize(const rt_call *c) {
  const rt_quantize_attr *a = c->attr;
  return quantize(c, a->scale, (double)a->zero_point, a->high);
}

static rt_status reference_quantize_by(const rt_call *c) {
  return quantize(c, rt_load(c->in[1], 0), rt_load(c->in[2], 0), ((const rt_observe_attr *)c->attr)->high);
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
static const char *const cases_quantize_by[] = {"f[33] f[]=0.02 f[]=128", "f[4,8,9,9] f[]=0.01 f[]=3 ; high=127", NULL};
static const char *const errors_quantize_by[] = {"u8[3] f[] f[] ; => floating",
                                                 "f[3] f[1] f[] ; => scale must be f32[]", NULL};
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

static const rt_option options_by[] = {
    {"high", RT_OPT_INT, offsetof(rt_observe_attr, high), .fallback = "255", 1, 255, .help = "the highest level"},
    {0},
};

const rt_op rt_op_row_quantize_by = {
    .name = "quantize_by",
    .summary = "q = clamp(zero_point + rint(x/scale), 0, high), u8, scale and zero_point found while it runs",
    .input_names = "x scale zero_point",
    .options = options_by,
    .attr_size = sizeof(rt_observe_attr),
    .n_out = 1,
    .f32_inputs = 1 << 1 | 1 << 2,
    .infer = infer_quantize_by,
    .reference = reference_quantize_by,
    .layout = RT_LAYOUT_FOLLOW,
    .cases = cases_quantize_by,
    .errors = errors_quantize_by,
};
