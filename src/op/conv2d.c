/* conv2d: y[n,o,p,q] = act(Σ_{c,i,j} w[o,c,i,j] · x[n, c₀+c, p·s−pad+i·d, q·s−pad+j·d] + b[o] + r[n,o,p,q])
 *   x N×C×H×W, w O×C/G×kh×kw, b O, r and y N×O×H'×W', H' = ⌊(H + 2·pad − d·(kh−1) − 1)/s⌋ + 1
 * c₀ is the first channel of o's group; taps outside of the image are 0.
 * With z the sum before act, both gradients are sums over the same pairs of y's positions and x's:
 *   dx[n,c₀+c,·] = Σ_{o,i,j} w·dz,  dw[o,c,i,j] = Σ_{n,p,q} dz·x,  db[o] = Σ_{n,p,q} dz,  dr = dz */
#include "base/alloc.h"
#include "base/thread.h"
#include "op/layer.h"

#define CONV_OPTIONS(type, conv) \
  {"stride", RT_OPT_PAIR, offsetof(type, conv stride), "1", 1, 1e6, .help = "step between windows: rows, columns"}, \
      {"padding", \
       RT_OPT_PAIR, \
       offsetof(type, conv padding), \
       "0", \
       0, \
       1e6, \
       .help = "zeros around the image: rows, columns"}, \
      {"dilation", RT_OPT_PAIR, offsetof(type, conv dilation), "1", 1, 1e6, .help = "step between a window's taps"}, \
      {"groups", \
       RT_OPT_INT, \
       offsetof(type, conv groups), \
       "1", \
       1, \
       1e18, \
       .help = "channels fall into so many independent groups"}, \
  { \
    "activation", RT_OPT_CHOICE, offsetof(type, conv activation), "none", .choices = "none|relu", \
                                                                          .help = "applied at the end" \
  }

static const rt_option options[] = {CONV_OPTIONS(rt_conv2d_attr, ), {0}};
static const rt_option options_int8[] = {CONV_OPTIONS(rt_conv2d_int8_attr, conv.), RT_INT8_OPTIONS, {0}};

static const rt_conv2d_attr *conv_attr(const rt_op *op, const void *attr) {
  return op == RT_OP(conv2d_int8) ? &((const rt_conv2d_int8_attr *)attr)->conv : attr;
}

/* ---- shapes ---- */

static rt_status check_groups(const rt_infer *c, int x, int weight) {
  int64_t groups = conv_attr(c->op, c->attr)->groups;
  rt_dim channels = c->in[x]->dim[1], out = c->in[weight]->dim[0], per_group = c->in[weight]->dim[1];
  char text[RT_TYPE_TEXT], weight_text[RT_TYPE_TEXT];
  rt_type_text(c->graph, c->in[x], text, sizeof text);
  rt_type_text(c->graph, c->in[weight], weight_text, sizeof weight_text);
  if (channels >= 0 && channels % groups != 0)
    return rt_infer_fail(c, "the %lld channels of x, %s, can't be divided into %lld groups", (long long)channels, text,
                         (long long)groups);
  if (out >= 0 && out % groups != 0)
    return rt_infer_fail(c, "the %lld filters of weight, %s, can't be divided into %lld groups", (long long)out,
                         weight_text, (long long)groups);
  if (channels >= 0 && rt_dims_conflict(channels / groups, per_group))
    return rt_infer_fail(c, "x is %s and groups %lld, so dimension 1 of weight is expected %lld, found %s", text,
                         (long long)groups, (long long)(channels / groups), weight_text);
  return RT_OK;
}

/* Dimensions of y; x and weight are the numbers of these inputs. */
static rt_status result_dims(const rt_infer *c, int x, int weight, rt_dim dim[4]) {
  const rt_conv2d_attr *a = conv_attr(c->op, c->attr);
  rt_status s;
  if ((s = rt_infer_rank(c, x, 4, 4)) || (s = rt_infer_rank(c, weight, 4, 4)) || (s = check_groups(c, x, weight)))
    return s;
  dim[0] = c->in[x]->dim[0];
  dim[1] = c->in[weight]->dim[0];
  for (int i = 0; i < 2 && s == RT_OK; i++) {
    rt_window w = {c->in[weight]->dim[2 + i], a->stride[i], a->padding[i], a->dilation[i], false};
    s = rt_infer_window(c, x, 2 + i, &w, &dim[2 + i]);
  }
  return s;
}

static rt_status infer(rt_infer *c) {
  rt_dim dim[4];
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = rt_infer_same_dtype(c, 0, 1)) || (s = result_dims(c, 0, 1, dim)) ||
      (s = rt_infer_vector(c, 2, 1, 0)))
    return s;
  if (rt_infer_in(c, 3) && ((s = rt_infer_same_dtype(c, 0, 3)) || (s = rt_infer_shape(c, 3, 4, dim)))) return s;
  c->out[0] = rt_type_of(c->in[0]->dtype, 4, dim);
  return RT_OK;
}

static rt_status infer_int8(rt_infer *c) { /* x weight scale bias residual? */
  const rt_int8_attr *a = c->attr;
  rt_dim dim[4];
  rt_status s;
  if ((s = rt_infer_int8(c)) || (s = result_dims(c, 0, 1, dim))) return s;
  rt_dtype dtype = a->f32 ? RT_F32 : RT_U8;
  if (rt_infer_in(c, 4)) {
    if (c->in[4]->dtype != dtype) return rt_infer_expected(c, 4, rt_dtype_name(dtype));
    if ((s = rt_infer_shape(c, 4, 4, dim))) return s;
  }
  c->out[0] = rt_type_of(dtype, 4, dim);
  return RT_OK;
}

static rt_status infer_data(rt_infer *c) { /* dy weight like */
  rt_dim dim[4];
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = rt_infer_same_dtype(c, 0, 1)) || (s = result_dims(c, 2, 1, dim)) ||
      (s = rt_infer_shape(c, 0, 4, dim)))
    return s;
  c->out[0] = rt_type_of(c->in[0]->dtype, 4, c->in[2]->dim);
  return RT_OK;
}

static rt_status infer_weight(rt_infer *c) { /* dy x like bias_like? */
  rt_dim dim[4];
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = rt_infer_same_dtype(c, 0, 1)) || (s = result_dims(c, 1, 2, dim)) ||
      (s = rt_infer_shape(c, 0, 4, dim)))
    return s;
  rt_dtype wide = rt_wide(c->in[0]->dtype);
  c->out[0] = rt_type_of(wide, 4, c->in[2]->dim);
  if (c->n_out > 1) c->out[1] = rt_type_of(wide, 1, &dim[1]);
  return RT_OK;
}

static int outputs_weight(const void *attr, int n_in) { return n_in > 3 ? 2 : 1; }

static void grad(rt_grad *c) {
  const rt_node *n = c->node;
  rt_conv2d_attr a = *(const rt_conv2d_attr *)n->attr;
  rt_value *dz = c->dy[0], *bias = rt_node_in(n, 2);
  if (a.activation == RT_ACTIVATION_RELU)
    dz = rt_emit(c->graph, RT_OP(relu_backward), NULL, &(rt_unary_attr){0}, 2, dz, n->out[0]);
  a.activation = RT_ACTIVATION_NONE;
  if (c->want[0]) c->dx[0] = rt_emit(c->graph, RT_OP(conv2d_backward_data), NULL, &a, 3, dz, n->in[1], n->in[0]);
  if (c->want[1] || (bias && c->want[2])) {
    rt_value *dw = rt_emit(c->graph, RT_OP(conv2d_backward_weight), NULL, &a, 4, dz, n->in[0], n->in[1], bias);
    if (c->want[1]) c->dx[1] = dw;
    if (bias && c->want[2]) c->dx[2] = rt_output(dw, 1);
  }
  if (rt_node_in(n, 3) && c->want[3]) c->dx[3] = dz;
}

/* Two operations for each product; `y` is the side of the convolution's result. */
static double products(const rt_type *y, const rt_type *weight) {
  return 2 * (double)rt_type_elements(y) * (double)(weight->dim[1] * weight->dim[2] * weight->dim[3]);
}

static double flops(const rt_type *const *in, const rt_type *out, const void *attr) { return products(out, in[1]); }
static double flops_data(const rt_type *const *in, const rt_type *out, const void *attr) {
  return products(in[0], in[1]);
}
static double flops_weight(const rt_type *const *in, const rt_type *out, const void *attr) {
  return products(in[0], in[2]);
}

/* ---- reference: one loop over all products, which adds to y, x or w ---- */

typedef enum side { SIDE_Y, SIDE_X, SIDE_W } side;

/* Positions of y, [begin, end), for which a tap is inside of the image: at position·stride + shift. */
typedef struct span {
  int64_t begin, end, shift;
} span;

typedef struct conv {
  const rt_tensor *t[3]; /* by side */
  double *v[3];          /* the same, dense */
  span *rows, *columns;  /* of each tap */
  int64_t stride[2], groups;
} conv;

static span tap_span(const conv *v, const rt_conv2d_attr *a, int axis, int64_t tap) {
  int64_t stride = a->stride[axis], shift = tap * a->dilation[axis] - a->padding[axis];
  int64_t size = v->t[SIDE_X]->dim[2 + axis], places = v->t[SIDE_Y]->dim[2 + axis];
  int64_t begin = shift < 0 ? (-shift + stride - 1) / stride : 0;
  int64_t end = shift < size ? (size - 1 - shift) / stride + 1 : 0;
  return (span){begin, end < places ? end : places, shift};
}

/* All products of image n, filter o and the c-th channel of o's group. */
static void add_products(const conv *v, side sum, int64_t n, int64_t o, int64_t c) {
  const int64_t *xd = v->t[SIDE_X]->dim, *wd = v->t[SIDE_W]->dim, *yd = v->t[SIDE_Y]->dim;
  int64_t group = o / (wd[0] / v->groups), step = v->stride[1];
  double *x = v->v[SIDE_X] + (n * xd[1] + group * wd[1] + c) * xd[2] * xd[3];
  double *w = v->v[SIDE_W] + (o * wd[1] + c) * wd[2] * wd[3];
  double *y = v->v[SIDE_Y] + (n * yd[1] + o) * yd[2] * yd[3];
  for (int64_t i = 0; i < wd[2]; i++) {
    for (int64_t j = 0; j < wd[3]; j++, w++) {
      span r = v->rows[i], q = v->columns[j];
      for (int64_t p = r.begin; p < r.end; p++) {
        double *restrict yr = y + p * yd[3], *restrict xr = x + (p * v->stride[0] + r.shift) * xd[3];
        double tap = *w;
        if (sum == SIDE_Y) {
          for (int64_t k = q.begin; k < q.end; k++) yr[k] += tap * xr[k * step + q.shift];
        } else if (sum == SIDE_X) {
          for (int64_t k = q.begin; k < q.end; k++) xr[k * step + q.shift] += tap * yr[k];
        } else {
          for (int64_t k = q.begin; k < q.end; k++) tap += yr[k] * xr[k * step + q.shift];
          *w = tap;
        }
      }
    }
  }
}

static void sum_y(void *context, int64_t begin, int64_t end) { /* over n, o */
  const conv *v = context;
  int64_t filters = v->t[SIDE_W]->dim[0], channels = v->t[SIDE_W]->dim[1];
  for (int64_t k = begin; k < end; k++)
    for (int64_t c = 0; c < channels; c++) add_products(v, SIDE_Y, k / filters, k % filters, c);
}

static void sum_x(void *context, int64_t begin, int64_t end) { /* over n, channels of x */
  const conv *v = context;
  int64_t all = v->t[SIDE_X]->dim[1], channels = v->t[SIDE_W]->dim[1], filters = v->t[SIDE_W]->dim[0] / v->groups;
  for (int64_t k = begin; k < end; k++) {
    int64_t group = k % all / channels;
    for (int64_t o = 0; o < filters; o++) add_products(v, SIDE_X, k / all, group * filters + o, k % channels);
  }
}

static void sum_w(void *context, int64_t begin, int64_t end) { /* over o, c */
  const conv *v = context;
  int64_t images = v->t[SIDE_X]->dim[0], channels = v->t[SIDE_W]->dim[1];
  for (int64_t k = begin; k < end; k++)
    for (int64_t n = 0; n < images; n++) add_products(v, SIDE_W, n, k / channels, k % channels);
}

static rt_status conv_init(conv *v, const rt_conv2d_attr *a, side sum, const rt_tensor *y, const rt_tensor *x,
                           const rt_tensor *w) {
  int64_t kh = w->dim[2], kw = w->dim[3];
  *v = (conv){.t = {y, x, w}, .stride = {a->stride[0], a->stride[1]}, .groups = a->groups};
  v->rows = rt_alloc_array((size_t)(kh + kw), sizeof(span));
  if (!v->rows) return RT_E_MEMORY;
  v->columns = v->rows + kh;
  for (int64_t i = 0; i < kh; i++) v->rows[i] = tap_span(v, a, 0, i);
  for (int64_t j = 0; j < kw; j++) v->columns[j] = tap_span(v, a, 1, j);
  for (side i = SIDE_Y; i <= SIDE_W; i++)
    if (!(v->v[i] = i == sum ? rt_dense_zero(v->t[i]) : rt_dense(v->t[i]))) return RT_E_MEMORY;
  return RT_OK;
}

static void conv_release(conv *v) {
  rt_free(v->rows);
  for (side i = SIDE_Y; i <= SIDE_W; i++) rt_free(v->v[i]);
}

static void finish(const rt_call *c, double *y) {
  const rt_tensor *bias = rt_call_in(c, 2), *residual = rt_call_in(c, 3);
  int activation = ((const rt_conv2d_attr *)c->attr)->activation;
  const int64_t *dim = c->out->dim;
  int64_t plane = dim[2] * dim[3], n = rt_tensor_elements(c->out);
  for (int64_t i = 0; i < n; i++) {
    if (bias) y[i] += rt_load(bias, i / plane % dim[1] * bias->stride[0]);
    if (residual) y[i] += rt_get(residual, i);
    y[i] = rt_activate(activation, y[i]);
  }
}

static rt_status reference(const rt_call *c) {
  const rt_tensor *y = c->out, *x = c->in[0], *w = c->in[1];
  conv v;
  rt_status s = conv_init(&v, c->attr, SIDE_Y, y, x, w);
  if (s == RT_OK) {
    rt_parallel_for(y->dim[0] * y->dim[1], 1, sum_y, &v);
    finish(c, v.v[SIDE_Y]);
    rt_dense_store(y, v.v[SIDE_Y]);
  }
  conv_release(&v);
  return s;
}

static rt_status reference_int8(const rt_call *c) {
  const rt_conv2d_int8_attr *a = c->attr;
  const rt_tensor *y = c->out, *scale = c->in[2], *bias = c->in[3], *residual = rt_call_in(c, 4);
  conv v;
  rt_status s = conv_init(&v, &a->conv, SIDE_Y, y, c->in[0], c->in[1]);
  if (s == RT_OK) {
    int64_t plane = y->dim[2] * y->dim[3], n = rt_tensor_elements(y);
    rt_parallel_for(y->dim[0] * y->dim[1], 1, sum_y, &v);
    for (int64_t i = 0; i < n; i++) {
      int64_t o = i / plane % y->dim[1];
      rt_put(y, i,
             rt_int8_result(&a->int8, v.v[SIDE_Y][i], (float)rt_get(scale, o), (float)rt_get(bias, o),
                            residual ? (float)rt_get(residual, i) : 0, a->conv.activation == RT_ACTIVATION_RELU));
    }
  }
  conv_release(&v);
  return s;
}

static rt_status reference_data(const rt_call *c) {
  const rt_tensor *dy = c->in[0], *w = c->in[1], *dx = c->out;
  conv v;
  rt_status s = conv_init(&v, c->attr, SIDE_X, dy, dx, w);
  if (s == RT_OK) {
    rt_parallel_for(dx->dim[0] * dx->dim[1], 1, sum_x, &v);
    rt_dense_store(dx, v.v[SIDE_X]);
  }
  conv_release(&v);
  return s;
}

static void sum_bias(const rt_tensor *db, const double *dy, const int64_t *dim) {
  int64_t plane = dim[2] * dim[3];
  for (int64_t o = 0; o < dim[1]; o++) {
    double sum = 0;
    for (int64_t n = 0; n < dim[0]; n++)
      for (int64_t i = 0; i < plane; i++) sum += dy[(n * dim[1] + o) * plane + i];
    rt_store_at(db, o * db->stride[0], sum);
  }
}

static rt_status reference_weight(const rt_call *c) {
  const rt_tensor *dy = c->in[0], *x = c->in[1], *dw = c->out;
  conv v;
  rt_status s = conv_init(&v, c->attr, SIDE_W, dy, x, dw);
  if (s == RT_OK) {
    rt_parallel_for(dw->dim[0] * dw->dim[1], 1, sum_w, &v);
    rt_dense_store(dw, v.v[SIDE_W]);
    if (c->n_out > 1) sum_bias(&c->out[1], v.v[SIDE_Y], dy->dim);
  }
  conv_release(&v);
  return s;
}

/* ---- rows ---- */

static const char *const cases[] = {
    "x[2,3,7,5] x[4,3,3,3] f[4] ; stride=2 padding=1",
    "x[1,1,7,5] x[1,1,3,2]",
    "x[1,3,9,7] x[5,3,3,3] - ; padding=1",
    "x[2,5,6,7] x[3,5,1,1] f[3] ; stride=2",
    "x[2,4,7,5] x[6,2,3,3] f[6] ; padding=1 groups=2",
    "x[2,6,5,7] x[6,1,3,3] - ; padding=1 groups=6",
    "x[1,3,9,7] x[6,1,5,5] f[6] ; stride=2 padding=2 groups=3",
    "x[1,2,9,8] x[3,2,2,3] ; stride=2,1 padding=0,2 dilation=3,2",
    "x[1,2,2,1] x[2,2,3,3] ; padding=3",
    "x[2,17,5,3] x[19,17,3,3] f[19] ; padding=1 activation=relu",
    "x[2,3,5,4] x[4,3,3,3] - x[2,4,5,4] ; padding=1",
    "x[2,3,7,5] x[4,3,3,3] f[4] x[2,4,4,3] ; stride=2 padding=1 activation=relu",
    "x[2,24,7,5]! x[70,24,3,3]! f[70]! x[2,70,7,5]! ; padding=1 activation=relu",
    "x[1,41,9,6]! x[25,41,3,3]! ; padding=1",
    "x[3,32,5,8]! x[24,32,3,3]! f[24]! ; padding=2",
    "x[2,48,6,7]! x[33,48,3,3]! ; padding=0,1 activation=relu",
    "x[9,26,2,1]! x[130,26,3,3]! ; padding=1",
    "x[2,24,9,7]! x[70,24,3,3]! f[70]! x[2,70,5,4]! ; stride=2 padding=1 activation=relu",
    "x[3,41,8,10]! x[25,41,3,3]! ; stride=2 padding=0,2",
    "x[6,20,3,4]! x[24,20,3,3]! f[24]! x[6,24,3,4]! ; padding=1 activation=relu",
    "x[6,20,3,4]! x[24,20,3,5]! ; padding=1,4 dilation=1,2",
    NULL,
};

static const char *const errors[] = {
    "x[2,3,7,5] x[4,2,3,3] ; => expected 3",
    "x[2,3,7,5] x[4,3,3] ; => weight must have rank 4",
    "x[2,3,2,5] x[4,3,3,3] ; => larger than dimension 2 of x",
    "x[2,3,7,5] x[4,3,3,3] ; dilation=1,3 => larger than dimension 3 of x",
    "x[2,3,7,5] x[4,1,3,3] ; groups=2 => channels of x",
    "x[2,4,7,5] x[3,2,3,3] ; groups=2 => filters of weight",
    "x[2,3,7,5] x[4,3,3,3] f[3] ; => bias must be",
    "x[2,3,7,5] x[4,3,3,3] - x[2,4,7,5] ; => residual must be",
    "s64[2,3,7,5] s64[4,3,3,3] ; => floating",
    "x[2,3,7,5] x[4,3,3,3] ; stride=0 => stride",
    NULL,
};

static const char *const cases_int8[] = {
    "u8[2,3,7,5]<256 s8[4,3,3,3]<127 f[4]<.01 f[4]<40 ; stride=2 padding=1",
    "u8[1,17,6,5]<256 s8[19,17,3,3]<127 f[19]<.0005 f[19] ; padding=1 activation=relu",
    "u8[2,32,5,8]<256 s8[48,32,1,1]<127 f[48]<.001 f[48]<9 u8[2,48,5,8]<256 ; residual_scale=0.7 activation=relu",
    "u8[2,16,5,8]<128 s8[16,16,3,3]<127 f[16]<.001 f[16]<9 u8[2,16,5,8]<128 ; padding=1 high=127 residual_scale=1.3",
    "u8[3,16,8,8]<256 s8[32,16,3,3]<127 f[32]<.001 f[32] f[3,32,8,8] ; padding=1 f32=true activation=relu",
    "u8[2,64,6,7]=127 s8[64,64,3,3]=127 f[64]<.001 f[64] ; padding=1 x_high=127 f32=true",
    "u8[1,64,6,7]<128 s8[32,64,1,1]=127 f[32]=.0001 f[32]<9 u8[1,32,6,7]<128 ; x_high=127 high=127",
    "u8[1,32,9,7]<128 s8[32,1,3,3]=127 f[32]<.01 f[32]<30 ; padding=1 groups=32 x_high=127",
    "u8[1,32,9,7]<256 s8[32,1,3,3]<127 f[32]<.01 f[32]<30 ; padding=1 groups=32 stride=2",
    "u8[2,8,6,6]<256 s8[12,4,3,3]<127 f[12]<.01 f[12]<30 ; groups=2 f32=true",
    NULL,
};

static const char *const errors_int8[] = {
    "x[2,3,7,5] s8[4,3,3,3] f[4] f[4] ; => x must be u8",
    "u8[2,3,7,5] u8[4,3,3,3] f[4] f[4] ; => weight must be s8",
    "u8[2,3,7,5] s8[4,2,3,3] f[4] f[4] ; => expected 3",
    "u8[2,3,7,5] s8[4,3,3,3] f[3] f[4] ; => scale",
    "u8[2,3,7,5] s8[4,3,3,3] f[4] f[4] f[2,4,5,3] ; => residual must be u8",
    "u8[2,3,7,5] s8[4,3,3,3] f[4] f[4] u8[2,4,5,4] ; => residual must be",
    NULL,
};

static int inplace_residual(int n_in, int out) { return n_in > 4 && out == 0 ? 4 : -1; }

static const char *const cases_data[] = {
    "x[2,4,4,3] x[4,3,3,3] x[2,3,7,5] ; stride=2 padding=1",
    "x[1,1,5,4] x[1,1,3,2] x[1,1,7,5]",
    "x[2,3,3,4] x[3,5,1,1] x[2,5,6,7] ; stride=2",
    "x[2,6,7,5] x[6,2,3,3] x[2,4,7,5] ; padding=1 groups=2",
    "x[2,6,5,7] x[6,1,3,3] x[2,6,5,7] ; padding=1 groups=6",
    "x[1,3,3,8] x[3,2,2,3] x[1,2,9,8] ; stride=2,1 padding=0,2 dilation=3,2",
    "x[2,19,5,3] x[19,17,3,3] x[2,17,5,3] ; padding=1",
    "x[2,70,7,5] x[70,24,3,3] x[2,24,7,5] ; padding=1",
    "x[1,25,9,6] x[25,41,3,3] x[1,41,9,6] ; padding=1",
    "x[3,24,7,10] x[24,32,3,3] x[3,32,5,8] ; padding=2",
    "x[2,33,4,7] x[33,48,3,3] x[2,48,6,7] ; padding=0,1",
    "x[6,24,3,4] x[24,20,3,5] x[6,20,3,4] ; padding=1,4 dilation=1,2",
    "x[8,24,4,4] x[24,20,3,3] x[8,20,8,8] ; stride=2 padding=1",
    NULL,
};

static const char *const errors_data[] = {
    "x[2,4,7,5] x[4,3,3,3] x[2,3,7,5] ; => dy must be",
    "x[2,4,5,3] x[4,2,3,3] x[2,3,7,5] ; => expected 3",
    NULL,
};

static const char *const cases_weight[] = {
    "x[2,4,4,3] x[2,3,7,5] x[4,3,3,3] f[4] ; stride=2 padding=1",
    "x[1,1,5,4] x[1,1,7,5] x[1,1,3,2]",
    "x[2,3,3,4] x[2,5,6,7] x[3,5,1,1] f[3] ; stride=2",
    "x[2,6,7,5] x[2,4,7,5] x[6,2,3,3] f[6] ; padding=1 groups=2",
    "x[2,6,5,7] x[2,6,5,7] x[6,1,3,3] ; padding=1 groups=6",
    "x[1,3,3,8] x[1,2,9,8] x[3,2,2,3] ; stride=2,1 padding=0,2 dilation=3,2",
    "x[2,19,5,3] x[2,17,5,3] x[19,17,3,3] f[19] ; padding=1",
    "x[4,130,8,8] x[4,131,16,15] x[130,131,3,3] ; stride=2 padding=1",
    "x[17,129,4,4] x[17,257,4,4] x[129,257,3,3] f[129] ; padding=1",
    "x[2,70,7,5] x[2,24,7,5] x[70,24,3,3] f[70] ; padding=1",
    "x[1,25,9,6] x[1,41,9,6] x[25,41,3,3] ; padding=1",
    "x[3,24,7,10] x[3,32,5,8] x[24,32,3,3] ; padding=2",
    "x[2,33,4,7] x[2,48,6,7] x[33,48,3,3] ; padding=0,1",
    "x[40,64,9,9] x[40,130,9,9] x[64,130,3,3] ; padding=1",
    "x[1,48,46,50] x[1,64,46,50] x[48,64,3,3] f[48] ; padding=1",
    "x[1,40,46,50] x[1,64,92,99] x[40,64,3,3] ; stride=2 padding=1",
    "x[3,48,7,6] x[3,64,9,8] x[48,64,3,3] ; padding=1 dilation=2",
    "x[5,48,3,4] x[5,64,9,10] x[48,64,5,3] ; stride=3 padding=1",
    "x[3,70,5,4] x[3,64,10,8] x[70,64,1,1] f[70] ; stride=2",
    "x[16,24,4,3] x[16,30,4,3] x[24,30,3,3] f[24] ; padding=1",
    NULL,
};

static const char *const errors_weight[] = {
    "x[2,4,7,5] x[2,3,7,5] x[4,3,3,3] ; => dy must be",
    "x[2,4,5,3] x[2,3,7,5] x[4,2,3,3] ; => expected 3",
    NULL,
};

const rt_op rt_op_row_conv2d = {
    .name = "conv2d",
    .summary = "y = act(conv(x, weight) + bias + residual): N×C×H×W, O×C/G×kh×kw, O, N×O×H'×W' to N×O×H'×W'",
    .input_names = "x weight bias? residual?",
    .options = options,
    .attr_size = sizeof(rt_conv2d_attr),
    .n_out = 1,
    .f32_inputs = 1 << 2,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .layout = RT_LAYOUT_IMAGE,
    .row_major_inputs = 1 << 1,
    .precision = RT_PRECISION_LOW,
    .flops = flops,
    .int8 = RT_OP(conv2d_int8),
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_conv2d_int8 = {
    .name = "conv2d_int8",
    .summary =
        "y = act(conv(x, weight)·scale + bias + residual_scale·residual): u8 N×C×H×W, s8 O×C/G×kh×kw, O, O, N×O×H'×W'",
    .input_names = "x weight scale bias residual?",
    .options = options_int8,
    .attr_size = sizeof(rt_conv2d_int8_attr),
    .n_out = 1,
    .f32_inputs = 1 << 2 | 1 << 3,
    .infer = infer_int8,
    .reference = reference_int8,
    .inplace = inplace_residual,
    .layout = RT_LAYOUT_IMAGE,
    .row_major_inputs = 1 << 1,
    .flops = flops,
    .cases = cases_int8,
    .errors = errors_int8,
};

const rt_op rt_op_row_conv2d_backward_data = {
    .name = "conv2d_backward_data",
    .summary = "gradient of conv2d's x from that of its sum, N×O×H'×W'",
    .input_names = "dy weight like",
    .options = options,
    .attr_size = sizeof(rt_conv2d_attr),
    .n_out = 1,
    .shape_only = 1 << 2,
    .infer = infer_data,
    .reference = reference_data,
    .layout = RT_LAYOUT_IMAGE,
    .row_major_inputs = 1 << 1,
    .precision = RT_PRECISION_LOW,
    .flops = flops_data,
    .cases = cases_data,
    .errors = errors_data,
};

const rt_op rt_op_row_conv2d_backward_weight = {
    .name = "conv2d_backward_weight",
    .summary = "gradients of conv2d's weight and, where it has one, of its bias, in f32",
    .input_names = "dy x like bias_like?",
    .options = options,
    .attr_size = sizeof(rt_conv2d_attr),
    .n_out = -1,
    .outputs = outputs_weight,
    .shape_only = 1 << 2 | 1 << 3,
    .f32_inputs = 1 << 3,
    .infer = infer_weight,
    .reference = reference_weight,
    .layout = RT_LAYOUT_IMAGE,
    .row_major_inputs = 1 << 2,
    .row_major_outputs = 1 << 0,
    .precision = RT_PRECISION_LOW,
    .flops = flops_weight,
    .cases = cases_weight,
    .errors = errors_weight,
};
