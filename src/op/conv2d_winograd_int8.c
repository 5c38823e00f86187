/* conv2d_int8 of 3×3 filters and stride 1 by Winograd's F(2×2, 3×3) (Lavin, Gray 2016): 16 products a tile of 2×2 results
 * where there would be 36. Transformed pixels and filters are brought onto grids of 8 bits again, one for each of a tile's
 * 16 taps t = 4i + j, of filters also one for each filter o:
 *   V = Bᵀ·d·B of 4×4 pixels d of x    qV[t] = clamp(⌊((V[t] − c[t])·multiplier[t] + 2¹⁴) / 2¹⁵⌋, −128, 127)
 *   U = G·w·Gᵀ of 3×3 weights w        qU[t,o] = rint(U[t,o] / f[t,o]),  f[t,o] = max over the channels of |U[t,o]| / 127
 *   M[t,o] = Σ over the channels of qV·qU, in s32; times f[t,o]·2¹⁵/multiplier[t]
 *   v = (Aᵀ·M·A)·scale[o] + bias[o] + residual_scale·residual
 * c is `centre` for t = 5, whose V is the sum of four pixels, else 0; centre·ΣU[5,o] is added back, exactly. All that is f32
 * is fused multiplications and sums in the order of `result` below, the same in every kernel. */
#include "base/alloc.h"
#include "base/thread.h"
#include "op/layer.h"

#include <math.h>

enum { TAPS = RT_WINOGRAD_TAPS, SUM = RT_WINOGRAD_SUM };

#define FIELD(name) offsetof(rt_conv2d_winograd_int8_attr, name)
static const rt_option options[] = {
    {"padding", RT_OPT_PAIR, FIELD(padding), "0", 0, 2, .help = "zeros around the image: rows, columns"},
    {"activation", RT_OPT_CHOICE, FIELD(activation), "none", .choices = "none|relu", .help = "applied at the end"},
    RT_INT8_OPTIONS,
    {"multiplier", RT_OPT_INTS, FIELD(multiplier), .min = 1, .max = 32767,
     .help = "of each transformed tap: its levels are it times that, over 32768"},
    {"centre", RT_OPT_INT, FIELD(centre), "0", 0, 1020, .help = "of the tap that sums four pixels"},
    {0},
};

static rt_status infer(rt_infer *c) { /* x weight scale bias residual? */
  const rt_conv2d_winograd_int8_attr *a = c->attr;
  rt_dim dim[4];
  rt_status s = rt_infer_int8(c);
  if (s == RT_OK) s = rt_infer_rank(c, 0, 4, 4);
  if (s == RT_OK) s = rt_infer_rank(c, 1, 4, 4);
  if (s != RT_OK) return s;
  if (a->multiplier.n != TAPS) return rt_infer_fail(c, "multiplier has %d numbers, expected %d", a->multiplier.n, TAPS);
  const rt_type *w = c->in[1];
  if (rt_dims_conflict(c->in[0]->dim[1], w->dim[1])) return rt_infer_expected(c, 1, "of as many channels as x has");
  dim[0] = c->in[0]->dim[0];
  dim[1] = w->dim[0];
  for (int i = 0; i < 2; i++) {
    rt_window window = {.kernel = w->dim[2 + i], .stride = 1, .padding = a->padding[i], .dilation = 1};
    if (w->dim[2 + i] != 3) return rt_infer_expected(c, 1, "filters of 3×3");
    if ((s = rt_infer_window(c, 0, 2 + i, &window, &dim[2 + i]))) return s;
  }
  rt_dtype dtype = a->int8.f32 ? RT_F32 : RT_U8;
  if (rt_infer_in(c, 4)) {
    if (c->in[4]->dtype != dtype) return rt_infer_expected(c, 4, rt_dtype_name(dtype));
    if ((s = rt_infer_shape(c, 4, 4, dim))) return s;
  }
  c->out[0] = rt_type_of(dtype, 4, dim);
  return RT_OK;
}

/* ---- filters ---- */

/* G·w·Gᵀ: quarters of whole numbers, exact. */
static void transform_filter(const int8_t *w, float u[TAPS]) {
  float t[12];
  for (int j = 0; j < 3; j++) {
    float first = w[j], second = w[3 + j], third = w[6 + j];
    t[j] = first;
    t[3 + j] = (first + second + third) / 2;
    t[6 + j] = (first - second + third) / 2;
    t[9 + j] = third;
  }
  for (int i = 0; i < 4; i++) {
    const float *r = t + 3 * i;
    u[4 * i] = r[0];
    u[4 * i + 1] = (r[0] + r[1] + r[2]) / 2;
    u[4 * i + 2] = (r[0] - r[1] + r[2]) / 2;
    u[4 * i + 3] = r[2];
  }
}

void rt_winograd_int8_filter(const rt_conv2d_winograd_int8_attr *a, const int8_t *w, int64_t channels, int8_t *u,
                             float factor[TAPS], float *constant) {
  float t[TAPS], most[TAPS] = {0};
  double sum = 0;
  for (int64_t c = 0; c < channels; c++) {
    transform_filter(w + 9 * c, t);
    for (int i = 0; i < TAPS; i++) most[i] = fmaxf(most[i], fabsf(t[i]));
    sum += (double)t[SUM];
  }
  for (int64_t c = 0; c < channels; c++) {
    transform_filter(w + 9 * c, t);
    for (int i = 0; i < TAPS; i++) u[i * channels + c] = most[i] > 0 ? (int8_t)nearbyintf(t[i] * 127 / most[i]) : 0;
  }
  for (int i = 0; i < TAPS; i++) factor[i] = (float)((double)most[i] / 127 * 32768 / (double)a->multiplier.v[i]);
  *constant = (float)(sum * (double)a->centre);
}

/* ---- reference ---- */

void rt_winograd_int8_tile(const int32_t d[TAPS], int32_t v[TAPS]) {
  int32_t t[TAPS];
  for (int j = 0; j < 4; j++) {
    t[j] = d[j] - d[8 + j];
    t[4 + j] = d[4 + j] + d[8 + j];
    t[8 + j] = d[8 + j] - d[4 + j];
    t[12 + j] = d[4 + j] - d[12 + j];
  }
  for (int i = 0; i < 4; i++) {
    const int32_t *r = t + 4 * i;
    v[4 * i] = r[0] - r[2];
    v[4 * i + 1] = r[1] + r[2];
    v[4 * i + 2] = r[2] - r[1];
    v[4 * i + 3] = r[1] - r[3];
  }
}

/* The levels of a transformed tile. */
static void transform_tile(const rt_conv2d_winograd_int8_attr *a, const int32_t d[TAPS], int32_t q[TAPS]) {
  int32_t v[TAPS];
  rt_winograd_int8_tile(d, v);
  v[SUM] -= (int32_t)a->centre;
  for (int i = 0; i < TAPS; i++) {
    int32_t level = (v[i] * (int32_t)a->multiplier.v[i] + (1 << 14)) >> 15;
    q[i] = level < -128 ? -128 : level > 127 ? 127 : level;
  }
}

/* Aᵀ·M·A. */
static void result(const int32_t m[TAPS], const float factor[TAPS], float constant, float r[4]) {
  float even[4], odd[4];
  for (int j = 0; j < 4; j++) {
    float f[4], k = j == 1 ? constant : 0;
    for (int i = 0; i < 4; i++) f[i] = (float)m[4 * i + j];
    even[j] = fmaf(f[0], factor[j], fmaf(f[1], factor[4 + j], fmaf(f[2], factor[8 + j], k)));
    odd[j] = fmaf(f[1], factor[4 + j], -fmaf(f[2], factor[8 + j], fmaf(f[3], factor[12 + j], -k)));
  }
  r[0] = even[0] + even[1] + even[2];
  r[1] = even[1] - even[2] - even[3];
  r[2] = odd[0] + odd[1] + odd[2];
  r[3] = odd[1] - odd[2] - odd[3];
}

typedef struct work {
  const rt_call *call;
  int8_t *u;        /* o × taps × channels */
  float *factor;    /* o × taps */
  float *constant;  /* o */
  int32_t *levels;  /* of a chunk's tile: taps × channels, one after another */
  int64_t channels; /* of x */
  int64_t down, across;
} work;

static void put_tile(const work *k, int64_t n, int64_t o, int64_t row, int64_t column, const float r[4]) {
  const rt_call *c = k->call;
  const rt_conv2d_winograd_int8_attr *a = c->attr;
  const rt_tensor *residual = rt_call_in(c, 4), *y = c->out;
  for (int i = 0; i < 4; i++) {
    int64_t p = 2 * row + i / 2, q = 2 * column + i % 2;
    if (p >= y->dim[2] || q >= y->dim[3]) continue;
    int64_t at = ((n * y->dim[1] + o) * y->dim[2] + p) * y->dim[3] + q;
    float v = fmaf(r[i], (float)rt_get(c->in[2], o), (float)rt_get(c->in[3], o));
    if (residual) v = fmaf((float)a->int8.residual_scale, (float)rt_get(residual, at), v);
    if (a->activation == RT_ACTIVATION_RELU && v < 0) v = 0;
    if (!a->int8.f32) v = fmaxf(nearbyintf(fminf(v, (float)a->int8.high)), 0);
    rt_put(y, at, (double)v);
  }
}

static void tile(const work *k, int32_t *levels, int64_t n, int64_t row, int64_t column) {
  const rt_call *c = k->call;
  const rt_conv2d_winograd_int8_attr *a = c->attr;
  const rt_tensor *x = c->in[0];
  for (int64_t ch = 0; ch < k->channels; ch++) {
    int32_t d[TAPS], q[TAPS];
    for (int i = 0; i < TAPS; i++) {
      int64_t p = 2 * row + i / 4 - a->padding[0], s = 2 * column + i % 4 - a->padding[1];
      bool inside = p >= 0 && p < x->dim[2] && s >= 0 && s < x->dim[3];
      d[i] = inside ? (int32_t)rt_get(x, ((n * k->channels + ch) * x->dim[2] + p) * x->dim[3] + s) : 0;
    }
    transform_tile(a, d, q);
    for (int i = 0; i < TAPS; i++) levels[i * k->channels + ch] = q[i];
  }
  for (int64_t o = 0; o < c->out->dim[1]; o++) {
    int32_t m[TAPS] = {0};
    float r[4];
    const int8_t *u = k->u + o * TAPS * k->channels;
    for (int i = 0; i < TAPS; i++)
      for (int64_t ch = 0; ch < k->channels; ch++) m[i] += levels[i * k->channels + ch] * u[i * k->channels + ch];
    result(m, k->factor + o * TAPS, k->constant[o], r);
    put_tile(k, n, o, row, column, r);
  }
}

static void tiles(void *context, int64_t begin, int64_t end) { /* of images: each has its own levels */
  const work *k = context;
  for (int64_t n = begin; n < end; n++)
    for (int64_t i = 0; i < k->down * k->across; i++)
      tile(k, k->levels + n * TAPS * k->channels, n, i / k->across, i % k->across);
}

static rt_status reference(const rt_call *c) {
  const rt_tensor *w = c->in[1], *y = c->out;
  int64_t out = w->dim[0], in = w->dim[1];
  work k = {.call = c, .channels = in, .down = (y->dim[2] + 1) / 2, .across = (y->dim[3] + 1) / 2};
  k.u = rt_alloc_array((size_t)(out * in), TAPS);
  k.factor = rt_alloc_array((size_t)out, TAPS * sizeof *k.factor);
  k.constant = rt_alloc_array((size_t)out, sizeof *k.constant);
  k.levels = rt_alloc_array((size_t)(y->dim[0] * in), TAPS * sizeof *k.levels);
  int8_t *filter = rt_alloc_array((size_t)in, 9);
  rt_status s = k.u && k.factor && k.constant && k.levels && filter ? RT_OK : RT_E_MEMORY;
  for (int64_t o = 0; o < out && s == RT_OK; o++) {
    for (int64_t i = 0; i < 9 * in; i++) filter[i] = (int8_t)rt_get(w, o * 9 * in + i);
    rt_winograd_int8_filter(c->attr, filter, in, k.u + o * TAPS * in, k.factor + o * TAPS, &k.constant[o]);
  }
  if (s == RT_OK) rt_parallel_for(y->dim[0], 1, tiles, &k);
  rt_free(k.u);
  rt_free(k.factor);
  rt_free(k.constant);
  rt_free(k.levels);
  rt_free(filter);
  return s;
}

/* ---- the row ---- */

static double flops(const rt_type *const *in, const rt_type *out, const void *attr) { /* as a direct one counts */
  return 2.0 * (double)rt_type_elements(out) * (double)in[1]->dim[1] * 9;
}

static int inplace_residual(int n_in, int out) { return n_in > 4 ? 4 : -1; }

#define TAPS_16 "multiplier=32767,12000,15000,16000,11000,8100,9000,14000,13000,8200,16400,15000,20000,9000,12345,30000"
static const char *const cases[] = {
    "u8[2,5,7,5]<256 s8[4,5,3,3]<127 f[4]<.01 f[4]<40 ; padding=1 centre=400 " TAPS_16,
    "u8[1,17,6,5]<256 s8[19,17,3,3]<127 f[19]<.0005 f[19] ; padding=1 activation=relu " TAPS_16,
    "u8[2,32,5,8]<256 s8[48,32,3,3]<127 f[48]<.001 f[48]<9 u8[2,48,3,6]<256 ; residual_scale=0.7 centre=510 "
    "activation=relu " TAPS_16,
    "u8[2,70,5,8]<128 s8[67,70,3,3]<127 f[67]<.001 f[67]<9 u8[2,67,7,8]<128 ; padding=2,1 high=127 centre=255 "
    "residual_scale=1.3 " TAPS_16,
    "u8[3,64,8,8]<256 s8[130,64,3,3]<127 f[130]<.001 f[130] f[3,130,8,8] ; padding=1 f32=true centre=3 " TAPS_16,
    "u8[1,128,6,7]=255 s8[64,128,3,3]=127 f[64]<.001 f[64] ; padding=1 f32=true " TAPS_16,
    "u8[9,64,4,4]<256 s8[64,64,3,3]<127 f[64]<.001 f[64]<90 ; padding=1 centre=420 " TAPS_16,
    NULL,
};

static const char *const errors[] = {
    "u8[2,3,7,5] s8[4,3,3,3] f[4] f[4] ; multiplier=1,2,3 => multiplier has 3",
    "u8[2,3,7,5] s8[4,3,1,1] f[4] f[4] ; " TAPS_16 " => filters of 3×3",
    "u8[2,3,7,5] s8[4,2,3,3] f[4] f[4] ; " TAPS_16 " => as many channels",
    "u8[2,3,7,5] s8[4,3,3,3] f[3] f[4] ; " TAPS_16 " => scale",
    "u8[2,3,7,5] s8[4,3,3,3] f[4] f[4] f[2,4,5,3] ; " TAPS_16 " => residual must be u8",
    "u8[2,3,7,5] s8[4,3,3,3] f[4] f[4] ; padding=3 " TAPS_16 " => padding",
    NULL,
};

const rt_op rt_op_row_conv2d_winograd_int8 = {
    .name = "conv2d_winograd_int8",
    .summary = "conv2d_int8 of 3×3 filters by Winograd's F(2×2, 3×3), its products in int8 too",
    .input_names = "x weight scale bias residual?",
    .options = options,
    .attr_size = sizeof(rt_conv2d_winograd_int8_attr),
    .n_out = 1,
    .f32_inputs = 1 << 2 | 1 << 3,
    .infer = infer,
    .reference = reference,
    .inplace = inplace_residual,
    .layout = RT_LAYOUT_IMAGE,
    .row_major_inputs = 1 << 1,
    .flops = flops,
    .cases = cases,
    .errors = errors,
};
