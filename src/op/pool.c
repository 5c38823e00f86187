/* Pooling of images N×C×H×W: y[n,c,p,q] = max or mean of x over a window; dy goes back where y came from.
 *   max_pool2d: ignores padding; the first of equals wins. Also gives each maximum's place in its plane, h·W + w.
 *   avg_pool2d: divides by the window's size, with or without padding; what ceil_mode adds beyond never counts.
 *   adaptive_avg_pool2d: window i of n over a length L is [⌊i·L/n⌋, ⌈(i+1)·L/n⌉). Global pooling is n = 1. */
#include "base/alloc.h"
#include "op/layer.h"

/* The forms for levels: (y − zero_point) is the mean of (x − from)·scale, rounded; zeros of the padding are levels `from`. */
typedef struct avg_int8_attr {
  rt_regrid_attr regrid;
  rt_pool2d_attr pool;
} avg_int8_attr;

typedef struct adaptive_int8_attr {
  rt_regrid_attr regrid;
  rt_adaptive_pool2d_attr pool;
} adaptive_int8_attr;

#define WINDOW_OPTIONS(type, at) \
  {"kernel", RT_OPT_PAIR, offsetof(type, at kernel), NULL, 1, 1e6, .help = "window: rows, columns"}, \
      {"stride", \
       RT_OPT_PAIR, \
       offsetof(type, at stride), \
       "0", \
       0, \
       1e6, \
       .help = "step between windows; 0: the kernel's size"}, \
      {"padding", \
       RT_OPT_PAIR, \
       offsetof(type, at padding), \
       "0", \
       0, \
       1e6, \
       .help = "around the image, at most half the kernel"}, \
  { \
    "ceil_mode", RT_OPT_BOOL, offsetof(type, at ceil_mode), "false", \
        .help = "a last window may reach over the padded edge" \
  }
#define AVG_OPTIONS(type, at) \
  WINDOW_OPTIONS(type, at), { \
    "count_include_pad", RT_OPT_BOOL, offsetof(type, at count_include_pad), "true", \
        .help = "zeros of the padding count" \
  }
#define ADAPTIVE_OPTIONS(type, at) \
  { "output_size", RT_OPT_PAIR, offsetof(type, at output_size), "1", 1, 1e6, .help = "rows, columns" }

static const rt_option max_options[] = {WINDOW_OPTIONS(rt_pool2d_attr, ), {0}};
static const rt_option avg_options[] = {AVG_OPTIONS(rt_pool2d_attr, ), {0}};
static const rt_option avg_int8_options[] = {RT_REGRID_OPTIONS, AVG_OPTIONS(avg_int8_attr, pool.), {0}};
static const rt_option adaptive_options[] = {ADAPTIVE_OPTIONS(rt_adaptive_pool2d_attr, ), {0}};
static const rt_option adaptive_int8_options[] = {RT_REGRID_OPTIONS, ADAPTIVE_OPTIONS(adaptive_int8_attr, pool.), {0}};

/* ---- shapes ---- */

static int64_t step(const rt_pool2d_attr *a, int i) { return a->stride[i] ? a->stride[i] : a->kernel[i]; }

/* Dimensions of y for input x. */
static rt_status window_dims(const rt_infer *c, const void *attr, int x, rt_dim dim[4]) {
  const rt_pool2d_attr *a = attr;
  rt_status s = rt_infer_rank(c, x, 4, 4);
  if (s != RT_OK) return s;
  memcpy(dim, c->in[x]->dim, 4 * sizeof *dim);
  for (int i = 0; i < 2 && s == RT_OK; i++) {
    if (2 * a->padding[i] > a->kernel[i])
      return rt_infer_fail(c, "a padding of %lld is more than half the kernel of %lld", (long long)a->padding[i],
                           (long long)a->kernel[i]);
    rt_window w = {a->kernel[i], step(a, i), a->padding[i], 1, a->ceil_mode};
    s = rt_infer_window(c, x, 2 + i, &w, &dim[2 + i]);
  }
  return s;
}

static rt_status adaptive_dims(const rt_infer *c, const void *attr, int x, rt_dim dim[4]) {
  const rt_adaptive_pool2d_attr *a = attr;
  rt_status s = rt_infer_rank(c, x, 4, 4);
  if (s != RT_OK) return s;
  memcpy(dim, c->in[x]->dim, 2 * sizeof *dim);
  memcpy(dim + 2, a->output_size, 2 * sizeof *dim);
  return RT_OK;
}

typedef rt_status dims(const rt_infer *c, const void *attr, int x, rt_dim dim[4]);

static rt_status infer(rt_infer *c, dims *result) {
  rt_dim dim[4];
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = result(c, c->attr, 0, dim))) return s;
  c->out[0] = rt_type_of(c->in[0]->dtype, 4, dim);
  if (c->n_out > 1) c->out[1] = rt_type_of(RT_S32, 4, dim);
  return RT_OK;
}

/* dy … like */
static rt_status infer_backward(rt_infer *c, dims *result) {
  rt_dim dim[4];
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = result(c, c->attr, c->n_in - 1, dim)) || (s = rt_infer_shape(c, 0, 4, dim)))
    return s;
  c->out[0] = rt_type_of(c->in[0]->dtype, 4, c->in[c->n_in - 1]->dim);
  return RT_OK;
}

static rt_status infer_window(rt_infer *c) { return infer(c, window_dims); }
static rt_status infer_adaptive(rt_infer *c) { return infer(c, adaptive_dims); }
static rt_status infer_window_backward(rt_infer *c) { return infer_backward(c, window_dims); }
static rt_status infer_adaptive_backward(rt_infer *c) { return infer_backward(c, adaptive_dims); }

static rt_status infer_max_backward(rt_infer *c) {
  rt_status s = infer_backward(c, window_dims);
  if (s != RT_OK || (s = rt_infer_same_shape(c, 0, 1))) return s;
  return c->in[1]->dtype == RT_S32 ? RT_OK : rt_infer_expected(c, 1, "max_pool2d's index, s32");
}

static rt_status infer_int8(rt_infer *c, dims *result, const void *attr) {
  rt_dim dim[4];
  if (c->in[0]->dtype != RT_U8) return rt_infer_expected(c, 0, "u8");
  rt_status s = result(c, attr, 0, dim);
  if (s == RT_OK) c->out[0] = rt_type_of(RT_U8, 4, dim);
  return s;
}

static rt_status infer_max_int8(rt_infer *c) { return infer_int8(c, window_dims, c->attr); }

static rt_status infer_avg_int8(rt_infer *c) {
  return infer_int8(c, window_dims, &((const avg_int8_attr *)c->attr)->pool);
}

static rt_status infer_adaptive_int8(rt_infer *c) {
  return infer_int8(c, adaptive_dims, &((const adaptive_int8_attr *)c->attr)->pool);
}

static void grad_max(rt_grad *c) {
  const rt_node *n = c->node;
  if (c->want[0] && c->dy[0])
    c->dx[0] = rt_emit(c->graph, RT_OP(max_pool2d_backward), NULL, n->attr, 3, c->dy[0], n->out[1], n->in[0]);
}

static void grad_mean(rt_grad *c, const rt_op *backward) {
  const rt_node *n = c->node;
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, backward, NULL, n->attr, 2, c->dy[0], n->in[0]);
}

static void grad_avg(rt_grad *c) { grad_mean(c, RT_OP(avg_pool2d_backward)); }
static void grad_adaptive(rt_grad *c) { grad_mean(c, RT_OP(adaptive_avg_pool2d_backward)); }

/* ---- references ---- */

/* One axis of a window: the places [begin, end) inside of the image, and what to divide by. */
typedef struct extent {
  int64_t begin, end, count;
} extent;

typedef extent place(const void *attr, int axis, int64_t i, int64_t size);

static extent window_place(const void *attr, int axis, int64_t i, int64_t size) {
  const rt_pool2d_attr *a = attr;
  int64_t begin = i * step(a, axis) - a->padding[axis], end = begin + a->kernel[axis];
  if (end > size + a->padding[axis]) end = size + a->padding[axis];
  int64_t whole = end - begin;
  if (begin < 0) begin = 0;
  if (end > size) end = size;
  return (extent){begin, end, a->count_include_pad ? whole : end - begin};
}

static extent adaptive_place(const void *attr, int axis, int64_t i, int64_t size) {
  int64_t n = ((const rt_adaptive_pool2d_attr *)attr)->output_size[axis];
  int64_t begin = i * size / n, end = ((i + 1) * size + n - 1) / n;
  return (extent){begin, end, end - begin};
}

/* The row-major indices of y as n, c, p, q. */
typedef struct position {
  int64_t n, c, p, q;
} position;

static position position_of(const int64_t *dim, int64_t i) {
  return (position){i / (dim[1] * dim[2] * dim[3]), i / (dim[2] * dim[3]) % dim[1], i / dim[3] % dim[2], i % dim[3]};
}

static double total(const rt_tensor *x, position at, extent r, extent q) {
  double sum = 0;
  for (int64_t h = r.begin; h < r.end; h++)
    for (int64_t w = q.begin; w < q.end; w++) sum += rt_load(x, rt_at4(x, at.n, at.c, h, w));
  return sum;
}

static rt_status reference_mean(const rt_call *c, place *window) {
  const rt_tensor *x = c->in[0], *y = c->out;
  for (int64_t i = 0; i < rt_tensor_elements(y); i++) {
    position at = position_of(y->dim, i);
    extent r = window(c->attr, 0, at.p, x->dim[2]), q = window(c->attr, 1, at.q, x->dim[3]);
    rt_put(y, i, total(x, at, r, q) / (double)(r.count * q.count));
  }
  return RT_OK;
}

static rt_status reference_mean_int8(const rt_call *c, place *window, const void *attr) {
  const rt_tensor *x = c->in[0], *y = c->out;
  const rt_regrid_attr *a = c->attr;
  for (int64_t i = 0; i < rt_tensor_elements(y); i++) {
    position at = position_of(y->dim, i);
    extent r = window(attr, 0, at.p, x->dim[2]), q = window(attr, 1, at.q, x->dim[3]);
    double inside = (double)((r.end - r.begin) * (q.end - q.begin));
    float sum = (float)(total(x, at, r, q) - inside * (double)a->from[0]);
    rt_put(y, i, rt_regrid_level(a, sum * rt_mean_step(a, r.count * q.count)));
  }
  return RT_OK;
}

static rt_status reference_mean_backward(const rt_call *c, place *window) {
  const rt_tensor *dy = c->in[0], *dx = c->out;
  double *sum = rt_dense_zero(dx);
  if (!sum) return RT_E_MEMORY;
  for (int64_t i = 0; i < rt_tensor_elements(dy); i++) {
    position at = position_of(dy->dim, i);
    extent r = window(c->attr, 0, at.p, dx->dim[2]), q = window(c->attr, 1, at.q, dx->dim[3]);
    double *plane = sum + (at.n * dx->dim[1] + at.c) * dx->dim[2] * dx->dim[3];
    double share = rt_get(dy, i) / (double)(r.count * q.count);
    for (int64_t h = r.begin; h < r.end; h++)
      for (int64_t w = q.begin; w < q.end; w++) plane[h * dx->dim[3] + w] += share;
  }
  rt_dense_store(dx, sum);
  rt_free(sum);
  return RT_OK;
}

static rt_status reference_avg(const rt_call *c) { return reference_mean(c, window_place); }
static rt_status reference_adaptive(const rt_call *c) { return reference_mean(c, adaptive_place); }
static rt_status reference_avg_int8(const rt_call *c) {
  return reference_mean_int8(c, window_place, &((const avg_int8_attr *)c->attr)->pool);
}

static rt_status reference_adaptive_int8(const rt_call *c) {
  return reference_mean_int8(c, adaptive_place, &((const adaptive_int8_attr *)c->attr)->pool);
}

static rt_status reference_avg_backward(const rt_call *c) { return reference_mean_backward(c, window_place); }
static rt_status reference_adaptive_backward(const rt_call *c) { return reference_mean_backward(c, adaptive_place); }

/* The index goes where there is an output for it. */
static rt_status reference_max(const rt_call *c) {
  const rt_tensor *x = c->in[0], *y = &c->out[0], *index = c->n_out > 1 ? &c->out[1] : NULL;
  for (int64_t i = 0; i < rt_tensor_elements(y); i++) {
    position at = position_of(y->dim, i);
    extent r = window_place(c->attr, 0, at.p, x->dim[2]), q = window_place(c->attr, 1, at.q, x->dim[3]);
    int64_t best = r.begin * x->dim[3] + q.begin;
    double most = -INFINITY;
    for (int64_t h = r.begin; h < r.end; h++) {
      for (int64_t w = q.begin; w < q.end; w++) {
        double v = rt_load(x, rt_at4(x, at.n, at.c, h, w));
        if (!(v > most) && !isnan(v)) continue; /* a NaN is never lost */
        most = v;
        best = h * x->dim[3] + w;
      }
    }
    rt_put(y, i, most);
    if (index) rt_put(index, i, (double)best);
  }
  return RT_OK;
}

static rt_status reference_max_backward(const rt_call *c) {
  const rt_tensor *dy = c->in[0], *index = c->in[1], *dx = c->out;
  int64_t plane = dx->dim[2] * dx->dim[3];
  double *sum = rt_dense_zero(dx);
  if (!sum) return RT_E_MEMORY;
  for (int64_t i = 0; i < rt_tensor_elements(dy); i++) {
    position at = position_of(dy->dim, i);
    extent r = window_place(c->attr, 0, at.p, dx->dim[2]), q = window_place(c->attr, 1, at.q, dx->dim[3]);
    int64_t k = rt_load_int(index, rt_tensor_offset(index, i)), h = k / dx->dim[3], w = k % dx->dim[3];
    if (h >= r.begin && h < r.end && w >= q.begin && w < q.end)
      sum[(at.n * dx->dim[1] + at.c) * plane + k] += rt_get(dy, i);
  }
  rt_dense_store(dx, sum);
  rt_free(sum);
  return RT_OK;
}

/* ---- rows ---- */

static const char *const max_cases[] = {
    "x[2,3,7,6]~ ; kernel=2",
    "x[1,1,7,5]~ ; kernel=3 stride=2 padding=1",
    "x[1,3,6,5]~ ; kernel=3,2 stride=2,1 padding=1,0",
    "x[2,17,6,8]~ ; kernel=3 stride=2 ceil_mode=true",
    "x[1,2,5,6]~ ; kernel=2 stride=2 padding=1 ceil_mode=true",
    "x[1,2,1,1]~ ; kernel=1",
    NULL,
};

static const char *const max_int8_cases[] = {
    "u8[2,3,7,6]<256 ; kernel=2",
    "u8[1,1,7,5]<256 ; kernel=3 stride=2 padding=1",
    "u8[2,19,6,8]<256 ; kernel=3,2 stride=2,1 padding=1,0",
    "u8[1,64,6,8]<256 ; kernel=3 stride=2 ceil_mode=true",
    NULL,
};

static const char *const max_int8_errors[] = {
    "x[2,3,7,5] ; kernel=2 => x must be u8",
    "u8[2,3,7] ; kernel=2 => rank 4",
    NULL,
};

static const char *const avg_cases[] = {
    "x[2,3,7,6] ; kernel=2",
    "x[1,1,7,5] ; kernel=3 stride=2 padding=1",
    "x[1,3,6,5] ; kernel=3,2 stride=2,1 padding=1,0 count_include_pad=false",
    "x[2,17,6,8] ; kernel=3 stride=2 ceil_mode=true",
    "x[1,2,5,6] ; kernel=2 stride=2 padding=1 ceil_mode=true",
    "x[1,2,5,6] ; kernel=2 stride=2 padding=1 ceil_mode=true count_include_pad=false",
    NULL,
};

static const char *const avg_int8_cases[] = {
    "u8[2,3,7,6]<256 ; kernel=2 scale=1.7 from=3 zero_point=9",
    "u8[1,1,7,5]<256 ; kernel=3 stride=2 padding=1 scale=2.5 from=100 zero_point=128 high=127",
    "u8[2,19,6,8]<256 ; kernel=3,2 stride=2,1 padding=1,0 count_include_pad=false scale=3 from=7",
    "u8[1,64,6,8]<256 ; kernel=3 stride=2 ceil_mode=true",
    NULL,
};

static const char *const adaptive_int8_cases[] = {
    "u8[2,3,7,5]<256 ; scale=2.3 from=20 zero_point=1",
    "u8[1,512,4,4]<256 ; scale=4",
    "u8[2,17,8,8]<256 ; output_size=3,2 from=255 zero_point=200",
    NULL,
};

static const char *const avg_int8_errors[] = {"x[2,3,7,5] ; kernel=2 => x must be u8", "u8[2,3,7] ; kernel=2 => rank 4",
                                              NULL};
static const char *const adaptive_int8_errors[] = {"x[2,3,7,5] ; => x must be u8", NULL};

static const char *const adaptive_cases[] = {
    "x[2,3,7,5]",
    "x[1,1,7,5] ; output_size=2",
    "x[2,17,8,8] ; output_size=3,2",
    "x[1,2,4,6] ; output_size=4",
    "x[1,2,3,3] ; output_size=5",
    NULL,
};

static const char *const window_errors[] = {
    "x[2,3,7] ; kernel=2 => rank 4",
    "x[2,3,2,7] ; kernel=3 => larger than dimension 2 of x",
    "x[2,3,7,5] ; kernel=2 padding=2 => more than half",
    "x[2,3,7,5] ; => kernel",
    "s64[2,3,7,5] ; kernel=2 => floating",
    NULL,
};

static const char *const adaptive_errors[] = {
    "x[2,3,7] ; => rank 4",
    "x[2,3,7,5] ; output_size=0 => output_size",
    NULL,
};

static const char *const max_backward_cases[] = {
    "x[2,3,3,3] s32[2,3,3,3]<42 x[2,3,7,6] ; kernel=2",
    "x[1,1,4,3] s32[1,1,4,3]<35 x[1,1,7,5] ; kernel=3 stride=2 padding=1",
    "x[2,17,3,4] s32[2,17,3,4]<48 x[2,17,6,8] ; kernel=3 stride=2 ceil_mode=true",
    NULL,
};

static const char *const max_backward_errors[] = {
    "x[2,3,3,3] s64[2,3,3,3]<42 x[2,3,7,6] ; kernel=2 => s32",
    "x[2,3,4,3] s32[2,3,4,3]<42 x[2,3,7,6] ; kernel=2 => dy must be",
    NULL,
};

static const char *const avg_backward_cases[] = {
    "x[2,3,3,3] x[2,3,7,6] ; kernel=2",
    "x[1,1,4,3] x[1,1,7,5] ; kernel=3 stride=2 padding=1",
    "x[1,3,3,4] x[1,3,6,5] ; kernel=3,2 stride=2,1 padding=1,0 count_include_pad=false",
    "x[2,17,3,4] x[2,17,6,8] ; kernel=3 stride=2 ceil_mode=true",
    NULL,
};

static const char *const avg_backward_errors[] = {"x[2,3,4,3] x[2,3,7,6] ; kernel=2 => dy must be", NULL};

static const char *const adaptive_backward_cases[] = {
    "x[2,3,1,1] x[2,3,7,5]",
    "x[1,1,2,2] x[1,1,7,5] ; output_size=2",
    "x[2,17,3,2] x[2,17,8,8] ; output_size=3,2",
    "x[1,2,5,5] x[1,2,3,3] ; output_size=5",
    NULL,
};

static const char *const adaptive_backward_errors[] = {"x[2,3,2,1] x[2,3,7,5] ; => dy must be", NULL};

const rt_op rt_op_row_max_pool2d = {
    .name = "max_pool2d",
    .summary = "largest element of each window, N×C×H×W to N×C×H'×W', and its place h·W + w in the plane",
    .input_names = "x",
    .options = max_options,
    .attr_size = sizeof(rt_pool2d_attr),
    .n_out = 2,
    .aux_outputs = 1 << 1,
    .moves = RT_OP(max_pool2d_int8),
    .infer = infer_window,
    .grad = grad_max,
    .reference = reference_max,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_first,
    .cases = max_cases,
    .errors = window_errors,
};

const rt_op rt_op_row_max_pool2d_int8 = {
    .name = "max_pool2d_int8",
    .summary = "largest level of each window, u8 N×C×H×W to N×C×H'×W'",
    .input_names = "x",
    .options = max_options,
    .attr_size = sizeof(rt_pool2d_attr),
    .n_out = 1,
    .infer = infer_max_int8,
    .reference = reference_max,
    .moves = RT_OP(max_pool2d_int8),
    .layout = RT_LAYOUT_IMAGE,
    .flops = rt_flops_first,
    .cases = max_int8_cases,
    .errors = max_int8_errors,
};

const rt_op rt_op_row_max_pool2d_backward = {
    .name = "max_pool2d_backward",
    .summary = "gradient of max_pool2d: each dy is added where in its window the maximum was",
    .input_names = "dy index like",
    .options = max_options,
    .attr_size = sizeof(rt_pool2d_attr),
    .n_out = 1,
    .shape_only = 1 << 2,
    .infer = infer_max_backward,
    .reference = reference_max_backward,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .cases = max_backward_cases,
    .errors = max_backward_errors,
};

const rt_op rt_op_row_avg_pool2d = {
    .name = "avg_pool2d",
    .regrids = RT_OP(avg_pool2d_int8),
    .summary = "mean of each window, N×C×H×W to N×C×H'×W'",
    .input_names = "x",
    .options = avg_options,
    .attr_size = sizeof(rt_pool2d_attr),
    .n_out = 1,
    .infer = infer_window,
    .grad = grad_avg,
    .reference = reference_avg,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_first,
    .cases = avg_cases,
    .errors = window_errors,
};

const rt_op rt_op_row_avg_pool2d_int8 = {
    .name = "avg_pool2d_int8",
    .summary = "mean of each window, levels of one grid to levels of another, u8 N×C×H×W to N×C×H'×W'",
    .input_names = "x",
    .options = avg_int8_options,
    .attr_size = sizeof(avg_int8_attr),
    .n_out = 1,
    .infer = infer_avg_int8,
    .reference = reference_avg_int8,
    .layout = RT_LAYOUT_IMAGE,
    .flops = rt_flops_first,
    .cases = avg_int8_cases,
    .errors = avg_int8_errors,
};

const rt_op rt_op_row_avg_pool2d_backward = {
    .name = "avg_pool2d_backward",
    .summary = "gradient of avg_pool2d: each dy is spread over its window",
    .input_names = "dy like",
    .options = avg_options,
    .attr_size = sizeof(rt_pool2d_attr),
    .n_out = 1,
    .shape_only = 1 << 1,
    .infer = infer_window_backward,
    .reference = reference_avg_backward,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .cases = avg_backward_cases,
    .errors = avg_backward_errors,
};

const rt_op rt_op_row_adaptive_avg_pool2d = {
    .name = "adaptive_avg_pool2d",
    .regrids = RT_OP(adaptive_avg_pool2d_int8),
    .summary = "mean of as many windows as output_size asks for; 1 is global pooling",
    .input_names = "x",
    .options = adaptive_options,
    .attr_size = sizeof(rt_adaptive_pool2d_attr),
    .n_out = 1,
    .infer = infer_adaptive,
    .grad = grad_adaptive,
    .reference = reference_adaptive,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_first,
    .cases = adaptive_cases,
    .errors = adaptive_errors,
};

const rt_op rt_op_row_adaptive_avg_pool2d_int8 = {
    .name = "adaptive_avg_pool2d_int8",
    .summary = "mean of as many windows as output_size asks for, levels of one grid to levels of another, u8",
    .input_names = "x",
    .options = adaptive_int8_options,
    .attr_size = sizeof(adaptive_int8_attr),
    .n_out = 1,
    .infer = infer_adaptive_int8,
    .reference = reference_adaptive_int8,
    .layout = RT_LAYOUT_IMAGE,
    .flops = rt_flops_first,
    .cases = adaptive_int8_cases,
    .errors = adaptive_int8_errors,
};

const rt_op rt_op_row_adaptive_avg_pool2d_backward = {
    .name = "adaptive_avg_pool2d_backward",
    .summary = "gradient of adaptive_avg_pool2d: each dy is spread over its window",
    .input_names = "dy like",
    .options = adaptive_options,
    .attr_size = sizeof(rt_adaptive_pool2d_attr),
    .n_out = 1,
    .shape_only = 1 << 1,
    .infer = infer_adaptive_backward,
    .reference = reference_adaptive_backward,
    .layout = RT_LAYOUT_IMAGE,
    .precision = RT_PRECISION_FOLLOW,
    .cases = adaptive_backward_cases,
    .errors = adaptive_backward_errors,
};
