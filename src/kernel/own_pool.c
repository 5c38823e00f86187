/* Pooling of channels-last images: windows are found once, in prepare; vectors run along the channels. */
#include "base/alloc.h"
#include "kernel/own.h"

enum { SLOTS = 16, CHANNELS = 64 }; /* of the scatter */

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
  return site->op == RT_OP(adaptive_avg_pool2d) || site->op == RT_OP(adaptive_avg_pool2d_backward);
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
        window_of(site->attr, axis, i, w);
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
  int32_t *index; /* max_pool2d */
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

static void forward(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const windows *h = &j->pool->h, *w = &j->pool->w;
  for (int64_t pixel = begin; pixel < end; pixel++) {
    int64_t a = pixel / w->n % h->n, b = pixel % w->n, n = pixel / (h->n * w->n);
    int64_t rows = h->end[a] - h->begin[a], cols = w->end[b] - w->begin[b], place = h->begin[a] * w->size + w->begin[b];
    const void *x = own_at(j->in, j->dtype, (n * h->size * w->size + place) * j->c);
    void *y = own_at(j->out, j->dtype, pixel * j->c);
    if (j->index)
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
  rt_parallel_for(pixels, 1 + OWN_GRAIN / (j.c > reads ? j.c : reads), forward, &j);
  return RT_OK;
}

/* ---- backward of the means: each pixel of dx collects from the windows it lies in ---- */

static void collect(const job *j, int64_t n, int64_t a, int64_t b, int64_t from, int64_t some, float *sum) {
  const windows *h = &j->pool->h, *w = &j->pool->w;
  for (int64_t i = 0; i < some; i++) sum[i] = 0;
  for (int64_t p = h->first[a]; p < h->last[a]; p++)
    for (int64_t q = w->first[b]; q < w->last[b]; q++)
      j->simd->accumulate[j->dtype](own_at(j->in, j->dtype, ((n * h->n + p) * w->n + q) * j->c + from), some,
                                    1 / (float)(h->count[p] * w->count[q]), sum);
}

static void mean_backward(void *p, int64_t begin, int64_t end) {
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

static rt_status run_mean_backward(const rt_kernel_call *call) {
  job j = job_of(call);
  rt_parallel_for(rt_tensor_elements(call->out) / j.c, 1 + OWN_GRAIN / j.c, mean_backward, &j);
  return RT_OK;
}

/* ---- backward of the maximum: scattered by index, a slice of channels of an image at a time, in f32 ---- */

typedef struct scatter {
  job j;
  const int32_t *index;
  float *plane; /* one a slot: H·W × CHANNELS */
  int64_t images, slices, slots;
  bool wrong[SLOTS];
} scatter;

static bool scatter_slice(const scatter *s, int64_t n, int64_t from, int64_t some, float *plane) {
  int64_t from_pixels = s->j.pool->h.n * s->j.pool->w.n, to_pixels = s->j.pool->h.size * s->j.pool->w.size;
  float dy[CHANNELS];
  memset(plane, 0, (size_t)(to_pixels * some) * sizeof *plane);
  for (int64_t p = 0; p < from_pixels; p++) {
    int64_t at = (n * from_pixels + p) * s->j.c + from;
    const float *g = own_tile(s->j.simd, s->j.dtype, s->j.in, at, some, dy);
    for (int64_t i = 0; i < some; i++) {
      int64_t place = s->index[at + i];
      if (place < 0 || place >= to_pixels) return false;
      plane[place * some + i] += g[i];
    }
  }
  for (int64_t p = 0; p < to_pixels; p++) {
    int64_t at = (n * to_pixels + p) * s->j.c + from;
    if (s->j.dtype == RT_F32)
      memcpy((float *)s->j.out + at, plane + p * some, (size_t)some * sizeof *plane);
    else
      s->j.simd->narrow(plane + p * some, (uint16_t *)s->j.out + at, some);
  }
  return true;
}

static void max_backward(void *p, int64_t begin, int64_t end) {
  scatter *s = p;
  int64_t plane = s->j.pool->h.size * s->j.pool->w.size * CHANNELS, units = s->images * s->slices;
  for (int64_t slot = begin; slot < end; slot++)
    for (int64_t u = rt_chunk_begin(units, (int)s->slots, (int)slot);
         u < rt_chunk_begin(units, (int)s->slots, (int)slot + 1) && !s->wrong[slot]; u++) {
      int64_t from = u % s->slices * CHANNELS;
      s->wrong[slot] = !scatter_slice(s, u / s->slices, from, least(CHANNELS, s->j.c - from), s->plane + slot * plane);
    }
}

static int64_t slots_of(const rt_type *dx) {
  return least(SLOTS, dx->dim[0] * ((dx->dim[1] + CHANNELS - 1) / CHANNELS));
}

static rt_status prepare_max_backward(rt_site *site) {
  site->workspace = slots_of(site->out) * site->out->dim[2] * site->out->dim[3] * CHANNELS * (int64_t)sizeof(float);
  return prepare_backward(site);
}

static rt_status run_max_backward(const rt_kernel_call *call) {
  scatter s = {.j = job_of(call),
               .index = own_in(call, 1),
               .plane = call->workspace,
               .images = call->out->dim[0],
               .slices = (call->out->dim[1] + CHANNELS - 1) / CHANNELS,
               .slots = slots_of(call->site->out)};
  rt_parallel_for(s.slots, 1, max_backward, &s);
  for (int64_t i = 0; i < s.slots; i++)
    if (s.wrong[i])
      return rt_fail(RT_E_RANGE, "%s %s: an index is outside of the plane of %lld x %lld", call->site->op->name,
                     call->site->name, (long long)call->out->dim[2], (long long)call->out->dim[3]);
  return RT_OK;
}

static bool accepts_max_backward(const rt_site *site) {
  int64_t rows, c;
  return accepts_backward(site) && own_rows(site->in[1], &rows, &c) && site->in[1]->dtype == RT_S32;
}

const rt_kernel rt_kernel_max_pool2d = {"own_max_pool2d", RT_OP(max_pool2d), accepts_forward,
                                        prepare_forward,  run_forward,       rt_free};
const rt_kernel rt_kernel_max_pool2d_backward = {"own_max_pool2d_backward", RT_OP(max_pool2d_backward),
                                                 accepts_max_backward,      prepare_max_backward,
                                                 run_max_backward,          rt_free};
const rt_kernel rt_kernel_avg_pool2d = {"own_avg_pool2d", RT_OP(avg_pool2d), accepts_forward,
                                        prepare_forward,  run_forward,       rt_free};
const rt_kernel rt_kernel_avg_pool2d_backward = {"own_avg_pool2d_backward", RT_OP(avg_pool2d_backward),
                                                 accepts_backward,          prepare_backward,
                                                 run_mean_backward,         rt_free};
const rt_kernel rt_kernel_adaptive_avg_pool2d = {
    "own_adaptive_avg_pool2d", RT_OP(adaptive_avg_pool2d), accepts_forward, prepare_forward, run_forward, rt_free};
const rt_kernel rt_kernel_adaptive_avg_pool2d_backward = {"own_adaptive_avg_pool2d_backward",
                                                          RT_OP(adaptive_avg_pool2d_backward),
                                                          accepts_backward,
                                                          prepare_backward,
                                                          run_mean_backward,
                                                          rt_free};
