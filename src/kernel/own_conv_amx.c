/* The gradient of a convolution by its weights on AMX's tiles, bf16:
 *   dW[o][i][tap] = Σ_k dY[k − shift(tap)][o] · X[k][i]
 * k counts pixels of several images side by side in rows of one pitch, zeros between, so that a tap is nothing but a
 * shift. Tiles want one factor with k innermost: dY is turned, and may then be read from any k. The other, X, wants pairs of
 * k side by side; where there is a stride each of its phases is packed by itself. Blocks of k stay in the second cache.
 * Every thread has its share of the images and sums of its own; these are added in their order. */
#include "base/alloc.h"
#include "kernel/amx.h"
#include "kernel/own.h"

#if defined __x86_64__

enum { MOST_TAPS = 49 };

/* Rows or columns: dy has `out` of them, x `in`. Tap t of dy's v reads x's (v + q[t])·stride + phase[t] − padding. */
typedef struct axis {
  int64_t in, out, stride, padding, taps;
  int64_t phase[MOST_TAPS], q[MOST_TAPS], most_q;
  int64_t low[MOST_TAPS], n[MOST_TAPS]; /* of a tap's phase: the first v + q that is in x, and how many are */
} axis;

typedef struct tiled {
  axis rows, columns;
  int64_t images, in, out;           /* in, out: channels */
  int64_t pitch, overhang;           /* columns of an image; how far a tap reads beyond dy's */
  int64_t group, row;                /* images of a block; columns of all of them */
  int64_t band;                      /* rows of a block */
  int64_t lead, a_row, b_panel;      /* elements */
  int64_t out_up, in_up, sum_floats; /* sums of one thread: taps × out_up × in_up */
  int slots;
  int64_t slot_bytes;
} tiled;

static axis axis_of(int64_t in, int64_t out, int64_t taps, int64_t stride, int64_t padding, int64_t dilation) {
  axis a = {.in = in, .out = out, .stride = stride, .padding = padding, .taps = taps};
  a.most_q = (taps - 1) * dilation / stride;
  for (int64_t t = 0; t < taps && t < MOST_TAPS; t++) {
    a.q[t] = t * dilation / stride;
    a.phase[t] = t * dilation % stride;
    int64_t before = padding - a.phase[t], last = (in - 1 + before) / stride; /* before < 0: floor isn't needed */
    a.low[t] = before > 0 ? (before + stride - 1) / stride : 0;
    if (last > out - 1 + a.most_q) last = out - 1 + a.most_q;
    a.n[t] = in - 1 + before < 0 || last < a.low[t] ? 0 : last - a.low[t] + 1;
  }
  return a;
}

static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smallest(int64_t a, int64_t b) { return a < b ? a : b; }

static tiled tiled_of(const rt_site *site) {
  enum { LEAST = 128, MOST = 1024 }; /* k of a block */
  const rt_conv2d_attr *a = site->attr;
  const rt_type *dy = site->in[0], *x = site->in[1], *dw = site->out;
  tiled g = {.images = x->dim[0], .in = x->dim[1], .out = dy->dim[1]};
  g.rows = axis_of(x->dim[2], dy->dim[2], dw->dim[2], a->stride[0], a->padding[0], a->dilation[0]);
  g.columns = axis_of(x->dim[3], dy->dim[3], dw->dim[3], a->stride[1], a->padding[1], a->dilation[1]);
  const axis *c = &g.columns;
  int64_t widest = 0;
  for (int64_t t = 0; t < c->taps; t++) {
    if (c->n[t] == 0) continue;
    int64_t first = c->low[t] - c->q[t];
    g.overhang = largest(g.overhang, largest(-first, first + c->n[t] - c->out));
    widest = largest(widest, c->n[t]);
  }
  g.pitch = largest(widest, c->out + g.overhang);
  g.out_up = own_up(g.out, AMX_SIDE);
  g.in_up = own_up(g.in, AMX_SIDE);
  int64_t most = rt_cpu_get()->l2 * 5 / 8 / (2 * (g.out_up + g.in_up));
  most = most < LEAST ? LEAST : most > MOST ? MOST : most;
  int64_t rows = g.rows.out + g.rows.most_q;
  g.slots = (int)smallest(rt_threads(), g.images);
  g.group = largest(1, smallest(most / (g.rows.out * g.pitch), (g.images + g.slots - 1) / g.slots));
  g.row = g.group * g.pitch;
  g.band = g.group == 1 && rows * g.row > 2 * most ? largest(1 + g.rows.most_q, most / g.row) : rows;
  g.lead = own_up(g.overhang, AMX_SIDE);
  g.a_row = g.lead + own_up((g.band + g.rows.most_q) * g.row, AMX_SIDE) + own_up(g.overhang, AMX_SIDE) + AMX_SIDE;
  if (g.a_row / AMX_SIDE % 2 == 0) g.a_row += AMX_SIDE; /* an odd number of cache lines: rows don't collide */
  g.b_panel = own_up(g.band * g.row, AMX_SIDE) * AMX_SIDE;
  g.sum_floats = g.rows.taps * c->taps * g.out_up * g.in_up;
  int64_t elements = g.out_up * g.a_row + g.in_up / AMX_SIDE * g.b_panel + largest(g.out_up, g.in_up);
  g.slot_bytes = own_up(elements * 2, 64) + g.sum_floats * 4;
  return g;
}

typedef struct job {
  const tiled *g;
  const uint16_t *x, *dy;
  float *dw;
  char *slots;
} job;

typedef struct slot {
  uint16_t *a, *b, *zero;
  float *sum;
} slot;

static slot slot_at(const tiled *g, char *slots, int64_t i) {
  slot s = {.sum = (float *)(slots + i * g->slot_bytes)};
  s.a = (uint16_t *)(s.sum + g->sum_floats);
  s.b = s.a + g->out_up * g->a_row;
  s.zero = s.b + g->in_up / AMX_SIDE * g->b_panel;
  return s;
}

/* A block of images from `image` on, of which there are `images`. */
typedef struct block {
  const tiled *g;
  int64_t image, images;
} block;

/* Pixels of an image in the block's order: its row r is `first + r·step` of height rows, column c `left + c·stride`. */
typedef struct view {
  const uint16_t *data;
  int64_t channels, height, width;
  int64_t first, row_step, left, column_step, columns; /* columns: how many aren't gap */
} view;

/* The 32 pixels from the k-th on. */
static void pixels(const block *b, const view *v, int64_t k, const uint16_t *zero, const uint16_t *out[AMX_SIDE]) {
  const tiled *g = b->g;
  int64_t row = k / g->row, image = k % g->row / g->pitch, column = k % g->pitch;
  for (int i = 0; i < AMX_SIDE; i++) {
    int64_t h = v->first + row * v->row_step, w = v->left + column * v->column_step;
    bool inside = h >= 0 && h < v->height && column < v->columns && image < b->images;
    out[i] = inside ? v->data + (((b->image + image) * v->height + h) * v->width + w) * v->channels : zero;
    if (++column < g->pitch) continue;
    column = 0;
    if (++image < g->group) continue;
    image = 0;
    row++;
  }
}

static void turn_dy(const job *j, const block *b, int64_t begin, int64_t rows, const slot *s) {
  const tiled *g = b->g;
  const view v = {j->dy, g->out, g->rows.out, g->columns.out, begin - g->rows.most_q, 1, 0, 1, g->columns.out};
  int64_t n = own_up((rows + g->rows.most_q) * g->row, AMX_SIDE), end = g->lead + n;
  const uint16_t *pixel[2][AMX_SIDE];
  for (int64_t o = 0; o < g->out_up; o++) {
    memset(s->a + o * g->a_row, 0, (size_t)g->lead * sizeof *s->a);
    memset(s->a + o * g->a_row + end, 0, (size_t)(g->a_row - end) * sizeof *s->a);
  }
  pixels(b, &v, 0, s->zero, pixel[0]);
  for (int64_t k = 0; k < n; k += AMX_SIDE) {
    int now = (int)(k / AMX_SIDE % 2);
    pixels(b, &v, k + AMX_SIDE, s->zero, pixel[!now]);
    rt_amx_turn(pixel[now], pixel[!now], g->out, s->a + g->lead + k, g->a_row);
  }
}

/* The phase of the two taps, rows [from, to) of v + q. Returns the steps of k. */
static int64_t pair_x(const job *j, const block *b, int64_t row_tap, int64_t column_tap, int64_t from, int64_t to,
                      const slot *s) {
  const tiled *g = b->g;
  const axis *r = &g->rows, *c = &g->columns;
  const view v = {j->x,
                  g->in,
                  r->in,
                  c->in,
                  from * r->stride + r->phase[row_tap] - r->padding,
                  r->stride,
                  c->low[column_tap] * c->stride + c->phase[column_tap] - c->padding,
                  c->stride,
                  c->n[column_tap]};
  int64_t rows = (to - from) * g->row;
  const uint16_t *pixel[2][AMX_SIDE];
  pixels(b, &v, 0, s->zero, pixel[0]);
  for (int64_t k = 0; k < rows; k += AMX_SIDE) {
    int now = (int)(k / AMX_SIDE % 2);
    pixels(b, &v, k + AMX_SIDE, s->zero, pixel[!now]);
    for (int64_t i = rows - k; i < AMX_SIDE; i++) pixel[now][i] = s->zero;
    rt_amx_pair(pixel[now], pixel[!now], g->in, s->b + k * AMX_SIDE, g->b_panel);
  }
  return (rows + AMX_SIDE - 1) / AMX_SIDE;
}

/* All taps whose pixels are of the phase that was packed. */
static void multiply(const tiled *g, int64_t row_tap, int64_t column_tap, int64_t begin, int64_t from, int64_t steps,
                     const slot *s) {
  const axis *r = &g->rows, *c = &g->columns;
  for (int64_t i = 0; i < g->in_up; i += AMX_SIDE)
    for (int64_t kh = row_tap; kh < r->taps; kh++)
      for (int64_t kw = column_tap; kw < c->taps; kw++) {
        if (r->phase[kh] != r->phase[row_tap] || c->phase[kw] != c->phase[column_tap]) continue;
        int64_t k = g->lead + (from - r->q[kh] - begin + r->most_q) * g->row + c->low[kw] - c->q[kw];
        float *sum = s->sum + (kh * c->taps + kw) * g->out_up * g->in_up + i;
        for (int64_t o = 0; o < g->out_up; o += AMX_SIDE, sum += AMX_SIDE * g->in_up)
          rt_amx_product(steps, s->a + o * g->a_row + k, g->a_row, s->b + i / AMX_SIDE * g->b_panel, sum, g->in_up,
                         sum + AMX_SIDE * g->in_up);
      }
}

static bool first_of_phase(const axis *a, int64_t tap) {
  for (int64_t t = 0; t < tap; t++)
    if (a->phase[t] == a->phase[tap]) return false;
  return true;
}

static void run_block(const job *j, const block *b, int64_t begin, int64_t end, const slot *s) {
  const tiled *g = b->g;
  turn_dy(j, b, begin, end - begin, s);
  for (int64_t kh = 0; kh < g->rows.taps; kh++) {
    int64_t from = largest(begin, g->rows.low[kh]), to = smallest(end, g->rows.low[kh] + g->rows.n[kh]);
    if (from >= to || !first_of_phase(&g->rows, kh)) continue;
    for (int64_t kw = 0; kw < g->columns.taps; kw++) {
      if (g->columns.n[kw] == 0 || !first_of_phase(&g->columns, kw)) continue;
      int64_t steps = pair_x(j, b, kh, kw, from, to, s);
      multiply(g, kh, kw, begin, from, steps, s);
    }
  }
}

static void run_slots(void *p, int64_t first, int64_t last) {
  const job *j = p;
  const tiled *g = j->g;
  rt_amx_begin();
  for (int64_t i = first; i < last; i++) {
    slot s = slot_at(g, j->slots, i);
    memset(s.sum, 0, (size_t)g->sum_floats * sizeof *s.sum);
    memset(s.zero, 0, (size_t)largest(g->out_up, g->in_up) * sizeof *s.zero);
    int64_t to = g->images * (i + 1) / g->slots, rows = g->rows.out + g->rows.most_q;
    for (int64_t image = g->images * i / g->slots; image < to; image += g->group) {
      const block b = {g, image, smallest(g->group, to - image)};
      for (int64_t row = 0; row < rows; row += g->band) run_block(j, &b, row, smallest(row + g->band, rows), &s);
    }
  }
  rt_amx_end();
}

static void add_up(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const tiled *g = j->g;
  const rt_simd *simd = rt_simd_get();
  int64_t taps = g->rows.taps * g->columns.taps;
  for (int64_t o = begin; o < end; o++) {
    float *to = j->dw + o * g->in * taps;
    for (int64_t tap = 0; tap < taps; tap++) {
      int64_t at = (tap * g->out_up + o) * g->in_up;
      float *sum = slot_at(g, j->slots, 0).sum + at;
      for (int64_t i = 1; i < g->slots; i++) simd->binary_add(sum, slot_at(g, j->slots, i).sum + at, sum, g->in);
      if (taps == 1)
        memcpy(to, sum, (size_t)g->in * sizeof *to);
      else
        for (int64_t i = 0; i < g->in; i++) to[i * taps + tap] = sum[i];
    }
  }
}

static rt_status run(const rt_kernel_call *call) {
  const tiled *g = call->site->state;
  job j = {g, call->in[1]->data, call->in[0]->data, call->out[0].data, call->workspace};
  rt_parallel_for(g->slots, 1, run_slots, &j);
  rt_parallel_for(g->out, 1 + OWN_GRAIN / (g->rows.taps * g->columns.taps * g->in), add_up, &j);
  if (call->site->n_out > 1) own_sum_pixels(call->in[0], &call->out[1], call->workspace);
  return RT_OK;
}

/* Time of the best other kernel over this one's, bf16, scripts/bench kernels: 1.1 to 2.0; with fewer channels 0.3 to 0.9.
 * Larger weights have sums that aren't in a cache, where few pixels add to them: 0.4 to 1.1. */
static bool pays(const rt_type *dy, const rt_type *dw) {
  enum { FEW = 2048, LARGE = 1 << 19, LARGEST = 1 << 20, MANY = 8192 };
  int64_t weights = rt_type_elements(dw), pixels = dy->dim[0] * dy->dim[2] * dy->dim[3];
  return dw->dim[0] * dw->dim[1] >= FEW && (weights <= LARGE || (weights < LARGEST && pixels >= MANY));
}

static bool accepts(const rt_site *site) {
  const rt_conv2d_attr *a = site->attr;
  const rt_type *dy = site->in[0], *x = site->in[1], *dw = site->out;
  return rt_cpu_get()->amx && x->dtype == RT_BF16 && dy->dtype == RT_BF16 && own_channels_innermost(x) &&
         own_channels_innermost(dy) && a->groups == 1 && dw->dtype == RT_F32 && dw->layout == RT_ROW_MAJOR &&
         (site->n_out == 1 || site->out[1].dtype == RT_F32) && rt_type_elements(x) > 0 && rt_type_elements(dy) > 0 &&
         dw->dim[2] <= MOST_TAPS && dw->dim[3] <= MOST_TAPS && pays(dy, dw);
}

static void release(void *state) { rt_free(state); }

static rt_status prepare(rt_site *site) {
  if (!rt_amx_start()) return RT_E_UNSUPPORTED;
  tiled *g = rt_alloc(sizeof *g);
  if (!g) return RT_E_MEMORY;
  site->state = g;
  *g = tiled_of(site);
  site->workspace = g->slots * g->slot_bytes;
  int64_t sums = own_sum_pixels_bytes(g->out);
  if (site->n_out > 1 && site->workspace < sums) site->workspace = sums;
  return RT_OK;
}

const rt_kernel rt_kernel_amx_backward_weight = {"own_amx_weight", RT_OP(conv2d_backward_weight), accepts, prepare, run,
                                                 release};

#endif
