/* The range of what passes, and the grid for it:
 *   low' = low + rate·(min(x, 0) − low),  high' = high + rate·(max(x, 0) − high),  scale and zero_point as rt_scale_of says
 * Without low, high and rate the range is that of x alone: dynamic quantization. Nothing passes back. */
#include "op/layer.h"
#include "tensor/grid.h"

#define FIELD(name) offsetof(rt_observe_attr, name)
static const rt_option options[] = {
    {"high", RT_OPT_INT, FIELD(high), "255", 1, 255, .help = "the highest level; the lowest is 0"},
    {0},
};

static rt_status infer(rt_infer *c) { /* x low? high? rate? */
  rt_type scalar = rt_type_of(rt_wide(c->in[0]->dtype), 0, NULL);
  char text[RT_TYPE_TEXT];
  rt_status s = rt_infer_float(c, 0);
  for (int i = 1; i < 4 && s == RT_OK; i++) {
    bool there = rt_infer_in(c, i) != NULL;
    if (there != (rt_infer_in(c, 1) != NULL)) s = rt_infer_fail(c, "low, high and rate come together");
    if (s == RT_OK && there && (c->in[i]->rank != 0 || c->in[i]->dtype != scalar.dtype))
      s = rt_infer_expected(c, i, rt_type_text(c->graph, &scalar, text, sizeof text));
  }
  for (int i = 0; i < 4; i++) c->out[i] = scalar;
  return s;
}

static rt_status reference(const rt_call *c) {
  const rt_observe_attr *a = c->attr;
  rt_range range = {0, 0};
  for (int64_t i = 0, n = rt_tensor_elements(c->in[0]); i < n; i++) {
    double x = rt_get(c->in[0], i);
    if (x < range.low) range.low = x;
    if (x > range.high) range.high = x;
  }
  if (rt_call_in(c, 1))
    range = rt_range_moved((rt_range){rt_load(c->in[1], 0), rt_load(c->in[2], 0)}, range, rt_load(c->in[3], 0));
  rt_scale grid = rt_scale_of(range, (rt_levels){0, (int)a->high, false});
  const double out[] = {range.low, range.high, grid.scale, grid.zero_point};
  for (int i = 0; i < 4; i++) rt_store_at(&c->out[i], 0, out[i]);
  return RT_OK;
}

static const char *const cases[] = {"f[2,3,7,5]", "f[33]+ ; high=127", "f[3,1,9,9] f[]=-0.5! f[]=2! f[]=0.25!",
                                    "f[4,1500] f[]=0! f[]=1! f[]=0!", NULL};
static const char *const errors[] = {"s64[3] ; => floating", "f[3] f[] f[] ; => come together",
                                     "f[3] f[1] f[] f[] ; => low must be f32[]", NULL};

const rt_op rt_op_row_observe = {
    .name = "observe",
    .summary = "the range of x, or a moving average of ranges, and the scale and zero point of a grid for it",
    .input_names = "x low? high? rate?",
    .options = options,
    .attr_size = sizeof(rt_observe_attr),
    .n_out = 4,
    .f32_inputs = 1 << 1 | 1 << 2 | 1 << 3,
    .infer = infer,
    .reference = reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
    .errors = errors,
};
