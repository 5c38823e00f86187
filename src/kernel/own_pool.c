/* Pooling of channels-last images: windows are found once, in prepare; vectors run along the channels. */
#include "base/alloc.h"
#include "kernel/own.h"

/* Along one axis: window i is [begin, end) of the image, divided by count; place j lies in windows [first, last). */
typedef struct windows {
  int64_t size, n;
  int64_t *begin, *end, *count; /* n each */
  int64_t *first, *last;        /* size each */
} windows;

typedef struct pool {
  windows h, w;
} pool; /* the arrays follow */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void window_of(const rt_pool2d_attr *a, int axis, int64_t i, windows *w) {
  int64_t step = a->stride[axis] ? a->stride[axis] : a->kernel[axis], padding = a->padding[axis];
  int64_t begin = i * step - padding, end = least(begin + a->kernel[axis], w->size + padding), whole = end - begin;
  w->begin[i] = begin < 0 ? 0 : begin;
  w->end[i] = least(end, w->size);
  w->count[i] = a->count_include_pad ? whole : w->end[i] - w->begin[i];
}

static void adaptive_window_of(int64_t i, windows *w) {
  w->begin[i] = i * w->size / w->n;
  w->end[i] = ((i + 1) * w->size + w->n - 1) / w->n;
  w->count[i] = w->end[i] - w->begin[i];
}

static int64_t *lay_out(windows *w, int64_t *at) {
  w->begin = at, w->end = w->begin + w->n, w->count = w->end + w->n;
  w->first = w->count + w->n, w->last = w->first + w->size;
  return w->last + w->size;
}

static bool adaptive(const rt_site *site) {
  return site->op == RT_OP(adaptive_avg_pool2d) || site->op == RT_OP(adaptive_avg_pool2d_backward) ||
         site->op == RT_OP(adaptive_avg_pool2d_int8);
}

static bool mean_int8(const rt_site *site) {
  return site->op == RT_OP(avg_pool2d_int8) || site->op == RT_OP(adaptive_avg_pool2d_int8);
}

/* The window of a pool of levels stands behind their grids. */
static const void *window_attr(const rt_site *site) {
  return (const char *)site->attr + (mean_int8(site) ? sizeof(rt_regrid_attr) : 0);
}

static rt_status prepare_windows(rt_site *site, const rt_type *x, const rt_type *y) {
  int64_t numbers = 3 * (y->dim[2] + y->dim[3]) + 2 * (x->dim[2] + x->dim[3]);
  pool *p = rt_alloc(sizeof *p + (size_t)numbers * sizeof(int64_t));
  if (!p) return RT_E_MEMORY;
  int64_t *at = (int64_t *)(p + 1);
  for (int axis = 0; axis < 2; axis++) {
    windows *w = axis ? &p->w : &p->h;
    w->size = x->dim[2 + axis];
    w->n = y->dim[2 + axis];
    at = lay_out(w, at);
    for (int64_t i = 0; i < w->n; i++)
      if (adaptive(site))
        adaptive_window_of(i, w);
      else
        window_of(window_attr(site), axis, i, w);
    for (int64_t j = 0, first = 0, last = 0; j < w->size; j++) { /* begins and ends never fall */
      while (first < w->n && w->end[first] <= j) first++;
      while (last < w->n && w->begin[last] <= j) last++;
      w->first[j] = first;
      w->last[j] = last;
    }
  }
  site->state = p;
  return RT_OK;
}

static bool accepts(const rt_site *site, const rt_type *x, const rt_type *y) {
  int64_t rows, c;
  return own_dtype(x->dtype) && x->dtype == y->dtype && x->rank == 4 && own_rows(x, &rows, &c) &&
         own_rows(y, &rows, &c) && (site->n_out < 2 || own_rows(&site->out[1], &rows, &c)) &&
         x->dim[2] * x->dim[3] < INT32_MAX;
}

static bool accepts_int8(const rt_site *site) {
  int64_t rows, c;
  return own_rows(site->in[0], &rows, &c) && own_rows(site->out, &rows, &c);
}

static bool accepts_forward(const rt_site *site) { return accepts(site, site->in[0], site->out); }
static bool accepts_backward(const rt_site *site) { return accepts(site, site->out, site->in[0]); }
static rt_status prepare_forward(rt_site *site) { return prepare_windows(site, site->in[0], site->out); }
static rt_status prepare_backward(rt_site *site) { return prepare_windows(site, site->out, site->in[0]); }

typedef struct job {
  const rt_simd *simd;
  const pool *pool;
  rt_dtype dtype;
  int64_t c;
  const void *in;
  void *out;
  int32_t *index;               /* max_pool2d: the maxima's places */
  const rt_regrid_attr *regrid; /* of means of levels */
  const int32_t *chosen;        /* max_pool2d_backward: the same */
} job;

static job job_of(const rt_kernel_call *call) {
  return (job){.simd = rt_simd_get(),
               .pool = call->site->state,
               .dtype = call->out->dtype,
               .c = call->out->dim[1],
               .in = own_in(call, 0),
               .out = call->out->data};
}

/* ---- forward: one pixel of the output after the other ---- */

static void mean_of_levels(const job *j, const uint8_t *x, int64_t rows, int64_t cols, int64_t count, uint8_t *y) {
  const rt_regrid_attr *r = j->regrid;
  rt_fake_grid to = {.zero = (float)r->zero_point, .high = (float)r->high};
  j->simd->mean_window_u8(x, rows, cols, j->pool->w.size * j->c, j->c, (int32_t)(rows * cols * r->from[0]),
                          (float)r->scale[0] / (float)count, &to, y);
}

static void forward(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const windows *h = &j->pool->h, *w = &j->pool->w;
  for (int64_t pixel = begin; pixel < end; pixel++) {
    int64_t a = pixel / w->n % h->n, b = pixel % w->n, n = pixel / (h->n * w->n);
    int64_t rows = h->end[a] - h->begin[a], cols = w->end[b] - w->begin[b], place = h->begin[a] * w->size + w->begin[b];
    const void *x = own_at(j->in, j->dtype, (n * h->size * w->size + place) * j->c);
    void *y = own_at(j->out, j->dtype, pixel * j->c);
    if (j->regrid)
      mean_of_levels(j, x, rows, cols, h->count[a] * w->count[b], y);
    else if (j->dtype == RT_U8)
      j->simd->max_window_u8(x, rows, cols, w->size * j->c, j->c, y);
    else if (j->index)
      j->simd->max_window[j->dtype](x, rows, cols, w->size * j->c, j->c, (int32_t)place, (int32_t)w->size, y,
                                    j->index + pixel * j->c);
    else
      j->simd->mean_window[j->dtype](x, rows, cols, w->size * j->c, j->c, 1 / (float)(h->count[a] * w->count[b]), y);
  }
}

static rt_status run_forward(const rt_kernel_call *call) {
  job j = job_of(call);
  int64_t pixels = rt_tensor_elements(call->out) / j.c, reads = rt_tensor_elements(call->in[0]) / pixels;
  if (call->site->n_out > 1) j.index = call->out[1].data;
  if (mean_int8(call->site)) j.regrid = call->site->attr;
  rt_parallel_for(pixels, 1 + OWN_GRAIN / (j.c > reads ? j.c : reads), forward, &j);
  return RT_OK;
}

/* ---- backward: each pixel of dx collects from the windows it lies in, all of a mean or where it was the maximum ---- */

static void collect(const job *j, int64_t n, int64_t a, int64_t b, int64_t from, int64_t some, float *sum) {
  const windows *h = &j->pool->h, *w = &j->pool->w;
  for (int64_t i = 0; i < some; i++) sum[i] = 0;
  for (int64_t p = h->first[a]; p < h->last[a]; p++)
    for (int64_t q = w->first[b]; q < w->last[b]; q++) {
      int64_t at = ((n * h->n + p) * w->n + q) * j->c + from;
      const void *dy = own_at(j->in, j->dtype, at);
      if (j->chosen)
        j->simd->accumulate_chosen[j->dtype](dy, j->chosen + at, (int32_t)(a * w->size + b), some, sum);
      else
        j->simd->accumulate[j->dtype](dy, some, 1 / (float)(h->count[p] * w->count[q]), sum);
    }
}

static void backward(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  float buffer[OWN_TILE];
  for (int64_t pixel = begin; pixel < end; pixel++)
    for (int64_t from = 0; from < j->c; from += OWN_TILE) {
      int64_t some = least(j->c - from, OWN_TILE), at = pixel * j->c + from, columns = j->pool->w.size;
      float *sum = own_tile_begin(j->dtype, j->out, at, buffer);
      collect(j, pixel / (j->pool->h.size * columns), pixel / columns % j->pool->h.size, pixel % columns, from, some,
              sum);
      own_tile_end(j->simd, j->dtype, j->out, at, some, sum);
    }
}

static rt_status run_backward(const rt_kernel_call *call) {
  job j = job_of(call);
  if (call->site->op == RT_OP(max_pool2d_backward)) j.chosen = own_in(call, 1);
  rt_parallel_for(rt_tensor_elements(call->out) / j.c, 1 + OWN_GRAIN / j.c, backward, &j);
  return RT_OK;
}

static bool accepts_max_backward(const rt_site *site) {
  int64_t rows, c;
  return accepts_backward(site) && own_rows(site->in[1], &rows, &c) && site->in[1]->dtype == RT_S32;
}

const rt_kernel rt_kernel_max_pool2d = {"own_max_pool2d", RT_OP(max_pool2d), accepts_forward,
                                        prepare_forward,  run_forward,       rt_free};
const rt_kernel rt_kernel_max_pool2d_int8 = {
    "own_max_pool2d_int8", RT_OP(max_pool2d_int8), accepts_int8, prepare_forward, run_forward, rt_free};
const rt_kernel rt_kernel_avg_pool2d_int8 = {
    "own_avg_pool2d_int8", RT_OP(avg_pool2d_int8), accepts_int8, prepare_forward, run_forward, rt_free};
const rt_kernel rt_kernel_adaptive_avg_pool2d_int8 = {"own_adaptive_avg_pool2d_int8",
                                                      RT_OP(adaptive_avg_pool2d_int8),
                                                      accepts_int8,
                                                      prepare_forward,
                                                      run_forward,
                                                      rt_free};
const rt_kernel rt_kernel_max_pool2d_backward = {"own_max_pool2d_backward",
                                                 RT_OP(max_pool2d_backward),
                                                 accepts_max_backward,
                                                 prepare_backward,
                                                 run_backward,
                                                 rt_free};
const rt_kernel rt_kernel_avg_pool2d = {"own_avg_pool2d", RT_OP(avg_pool2d), accepts_forward,
                                        prepare_forward,  run_forward,       rt_free};
const rt_kernel rt_kernel_avg_pool2d_backward = {
    "own_avg_pool2d_backward", RT_OP(avg_pool2d_backward), accepts_backward, prepare_backward, run_backward, rt_free};
const rt_kernel rt_kernel_adaptive_avg_pool2d = {
    "own_adaptive_avg_pool2d", RT_OP(adaptive_avg_pool2d), accepts_forward, prepare_forward, run_forward, rt_free};
const rt_kernel rt_kernel_adaptive_avg_pool2d_backward = {"own_adaptive_avg_pool2d_backward",
                                                          RT_OP(adaptive_avg_pool2d_backward),
                                                          accepts_backward,
                                                          prepare_backward,
                                                          run_backward,
                                                          rt_free};
