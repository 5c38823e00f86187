/* A grid of so many levels that a float is rounded to, in float.
 *   fake_quant:         q = z + rint(x/s),  y = (clamp(q, low, high) − z)·s
 *                       dx = dy where low <= q <= high, else 0 (straight through: Jacob et al. 2018)
 *                       learned: ds = Σ dy·{low − z below, high − z above, (y − x)/s inside}, scaled: divided by √(N·high),
 *                       N elements of a sample (LSQ: Esser et al. 2020)
 *   fake_quant_weight:  s8 with a scale per filter, s = max |x|/127 over all but the first dimension; dx = dy, since nothing
 *                       is outside. A factor on a filter is one on its scale: folding batch norm doesn't change q. Where all
 *                       share one scale it does: s is then max |factor·x|/127 over all, divided by |factor| of the filter. */
#include "op/layer.h"

#define FIELD(name) offsetof(rt_fake_quant_attr, name)
static const rt_option options[] = {
    {"low", RT_OPT_INT, FIELD(low), "0", -128, 255, .help = "the lowest level"},
    {"high", RT_OPT_INT, FIELD(high), "255", 1, 255, .help = "the highest level"},
    {"learned", RT_OPT_BOOL, FIELD(learned), "false", .help = "the scale has a gradient"},
    {"scaled", RT_OPT_BOOL, FIELD(scaled), "false", .help = "which is divided by the root of numbers times levels"},
    {0},
};

/* ---- shapes ---- */

static rt_status infer_grid(const rt_infer *c, int x) {
  rt_status s = rt_infer_float(c, x);
  for (int i = x + 1; i < x + 3 && s == RT_OK; i++) {
    rt_type want = rt_type_of(rt_wide(c->in[x]->dtype), 0, NULL);
    char text[RT_TYPE_TEXT];
    if (c->in[i]->rank != 0 || c->in[i]->dtype != want.dtype)
      s = rt_infer_expected(c, i, rt_type_text(c->graph, &want, text, sizeof text));
  }
  return s;
}

static rt_status infer(rt_infer *c) {
  c->out[0] = *c->in[0];
  return infer_grid(c, 0);
}

static int outputs_backward(const void *attr, int n_in) { return ((const rt_fake_quant_attr *)attr)->learned ? 2 : 1; }

static rt_status infer_backward(rt_infer *c) { /* dy x scale zero_point */
  c->out[0] = *c->in[1];
  if (c->n_out > 1) c->out[1] = *c->in[2];
  rt_status s = infer_grid(c, 1);
  return s == RT_OK ? rt_infer_same_shape(c, 0, 1) : s;
}

static rt_status infer_weight(rt_infer *c) { /* x factor? */
  c->out[0] = *c->in[0];
  rt_status s = rt_infer_float(c, 0);
  if (s == RT_OK) s = rt_infer_rank(c, 0, 2, RT_MAX_RANK);
  return s == RT_OK && rt_infer_in(c, 1) ? rt_infer_vector(c, 1, 0, 0) : s;
}

/* ---- gradients ---- */

static void grad(rt_grad *c) {
  const rt_node *n = c->node;
  rt_value *dx =
      rt_emit(c->graph, RT_OP(fake_quant_backward), NULL, n->attr, 4, c->dy[0], n->in[0], n->in[1], n->in[2]);
  if (!dx) return;
  c->dx[0] = dx;
  if (dx->node->n_out > 1) c->dx[1] = dx->node->out[1];
}

static void grad_weight(rt_grad *c) { c->dx[0] = c->dy[0]; }

/* ---- references ---- */

typedef struct grid {
  double scale, zero, low, high;
  bool f64;
} grid;

static grid grid_of(const rt_call *c, int x) {
  const rt_fake_quant_attr *a = c->attr;
  return (grid){rt_load(c->in[x + 1], 0), rt_load(c->in[x + 2], 0), (double)a->low, (double)a->high,
                c->in[x]->dtype == RT_F64};
}

/* x in steps of the scale. In f32 as `quantize` does it: what is rounded up here is there, too. */
static double steps(const grid *g, double x) {
  return g->f64 ? x / g->scale : (double)((float)x * (1 / (float)g->scale));
}

static double clamp(const grid *g, double q) { return q < g->low ? g->low : q > g->high ? g->high : q; }

static rt_status reference(const rt_call *c) {
  grid g = grid_of(c, 0);
  for (int64_t i = 0, n = rt_tensor_elements(c->out); i < n; i++) {
    double q = g.zero + nearbyint(steps(&g, rt_get(c->in[0], i)));
    rt_put(c->out, i, (clamp(&g, q) - g.zero) * g.scale);
  }
  return RT_OK;
}

static rt_status reference_backward(const rt_call *c) {
  const rt_fake_quant_attr *a = c->attr;
  grid g = grid_of(c, 1);
  double sum = 0;
  int64_t n = rt_tensor_elements(c->out);
  for (int64_t i = 0; i < n; i++) {
    double x = steps(&g, rt_get(c->in[1], i)), q = g.zero + nearbyint(x), dy = rt_get(c->in[0], i);
    bool inside = q >= g.low && q <= g.high;
    rt_put(c->out, i, inside ? dy : 0);
    sum += dy * (clamp(&g, q) - g.zero - (inside ? x : 0));
  }
  if (c->n_out < 2) return RT_OK;
  int64_t batch = c->out->rank > 1 ? c->out->dim[0] : 1;
  rt_store_at(&c->out[1], 0, a->scaled ? sum / sqrt((double)n / (double)batch * g.high) : sum);
  return RT_OK;
}

/* The largest magnitude of filter o. */
static double largest(const rt_tensor *x, int64_t o, int64_t size) {
  double most = 0;
  for (int64_t k = 0; k < size; k++) most = fmax(most, fabs(rt_get(x, o * size + k)));
  return most;
}

static rt_status reference_weight(const rt_call *c) {
  const rt_fake_quant_weight_attr *a = c->attr;
  const rt_tensor *x = c->in[0], *factor = rt_call_in(c, 1);
  int64_t filters = x->dim[0], size = rt_tensor_elements(x) / filters;
  double all = 0;
  for (int64_t o = 0; o < filters && a->per_tensor; o++)
    all = fmax(all, largest(x, o, size) * (factor ? fabs(rt_load(factor, o)) : 1));
  for (int64_t o = 0; o < filters; o++) {
    double f = factor ? fabs(rt_load(factor, o)) : 1, most = a->per_tensor && f > 0 ? all / f : largest(x, o, size);
    grid g = {.scale = most > 0 ? most / 127 : 1, .f64 = x->dtype == RT_F64};
    if (!g.f64) g.scale = (double)(float)g.scale;
    for (int64_t k = 0; k < size; k++)
      rt_put(c->out, o * size + k, nearbyint(steps(&g, rt_get(x, o * size + k))) * g.scale);
  }
  return RT_OK;
}

/* ---- rows: a step function has no finite differences worth the name, so PyTorch is asked instead (tests/golden) ---- */

static const char *const cases[] = {"x[2,3,7,5]! f[]=0.017! f[]=100!", "x[33]! f[]=0.02! f[]=0! ; high=127",
                                    "x[4,8,9,9]! f[]=0.01! f[]=0! ; low=-128 high=127", NULL};
static const char *const errors[] = {"s64[3] f[] f[] ; => floating", "x[3] f[3] f[] ; => scale must be f32[]",
                                     "x[3] f[] s64[] ; => zero_point must be f32[]", NULL};
static const char *const cases_backward[] = {"x[2,3,7,5] x[2,3,7,5] f[]=0.017 f[]=100",
                                             "x[2,33] x[2,33] f[]=0.02 f[]=0 ; high=127 learned=true scaled=true",
                                             "x[4,8,9,9] x[4,8,9,9] f[]=0.01 f[]=0 ; learned=true", NULL};
static const char *const errors_backward[] = {"x[3] x[4] f[] f[] ; => dy", NULL};
static const char *const cases_weight[] = {"x[8,3,3,3]!",
                                           "x[5,33]!",
                                           "x[2,7]=0!",
                                           "x[8,3,3,3]! ; per_tensor=true",
                                           "x[5,33]! f[5]! ; per_tensor=true",
                                           "x[5,33]! f[5]=0! ; per_tensor=true",
                                           NULL};
static const char *const errors_weight[] = {"x[3] ; => rank", "x[3,4] f[4] ; => factor must be", NULL};

static const rt_option options_weight[] = {
    {"per_tensor", RT_OPT_BOOL, offsetof(rt_fake_quant_weight_attr, per_tensor), "false",
     .help = "one scale for all filters"},
    {0},
};

const rt_op rt_op_row_fake_quant = {
    .name = "fake_quant",
    .summary =
        "y = scale·(clamp(zero_point + rint(x/scale), low, high) − zero_point); its gradient passes where x is inside",
    .input_names = "x scale zero_point",
    .options = options,
    .attr_size = sizeof(rt_fake_quant_attr),
    .n_out = 1,
    .f32_inputs = 1 << 1 | 1 << 2,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_fake_quant_backward = {
    .name = "fake_quant_backward",
    .summary = "gradients of fake_quant's x and, learned, of its scale",
    .input_names = "dy x scale zero_point",
    .options = options,
    .attr_size = sizeof(rt_fake_quant_attr),
    .n_out = -1,
    .outputs = outputs_backward,
    .f32_inputs = 1 << 2 | 1 << 3,
    .infer = infer_backward,
    .reference = reference_backward,
    .inplace = rt_inplace_first,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases_backward,
    .errors = errors_backward,
};

const rt_op rt_op_row_fake_quant_weight = {
    .name = "fake_quant_weight",
    .summary = "y = x rounded to 255 levels from −s·127 to s·127 for each filter, s its largest magnitude/127; or one "
               "scale for all",
    .input_names = "x factor?",
    .options = options_weight,
    .attr_size = sizeof(rt_fake_quant_weight_attr),
    .n_out = 1,
    .f32_inputs = 1 << 1,
    .infer = infer_weight,
    .grad = grad_weight,
    .reference = reference_weight,
    .precision = RT_PRECISION_F32,
    .cases = cases_weight,
    .errors = errors_weight,
};
