/* conv2d_winograd_int8: a thread takes a block of tiles as own_winograd.c does. Transformed pixels are u8, 128 above their
 * levels; what that adds to the sums is taken off where they start. */
#include "kernel/own_winograd.h"

#include "base/alloc.h"
#include "base/rng.h"

enum { TAPS = RT_WINOGRAD_TAPS, OFFSET = 128 };

typedef struct winograd {
  own_tiles tiles;
  const rt_simd *simd;
  int64_t in, out;    /* channels */
  int64_t k;          /* words of 4 channels */
  int64_t row, plane; /* bytes from tile to tile and from tap to tap of the transformed input */
  int64_t result;     /* sums from tap to tap */
  own_blocks by;
  int tile_rows, columns;
  int64_t slot_bytes;
  rt_conv2d_winograd_int8_attr attr;
  int16_t multiplier[TAPS];
} winograd;

static winograd winograd_of(const rt_site *site) {
  const rt_conv2d_winograd_int8_attr *a = site->attr;
  winograd g = {.simd = rt_simd_get(), .in = site->in[0]->dim[1], .out = site->out->dim[1]};
  int lanes;
  g.attr = *a;
  for (int i = 0; i < TAPS; i++) g.multiplier[i] = (int16_t)a->multiplier.v[i];
  g.tiles = own_tiles_of(2, 1, site->in[0], site->out, a->padding);
  g.simd->product_shape(&g.tile_rows, &g.columns, &lanes);
  g.k = own_parts(g.in, 4);
  g.row = own_up(g.in, 64);
  if (g.row % 1024 == 0) g.row += 64; /* powers of two collide in the caches */
  g.by = own_blocks_of(g.tiles.n, TAPS * (g.row + 4 * g.columns), g.tile_rows, 8, own_parts(g.out, g.columns));
  g.plane = g.by.block * g.row + 64;
  g.result = g.by.block * g.columns + 16;
  g.slot_bytes = own_up(TAPS * (g.plane + 4 * g.result) + own_up(g.in, 64), 64);
  return g;
}

/* ---- the pack: levels, panels × taps × k × columns × 4, as a thread reads them; then numbers of each filter ---- */

static int64_t level_bytes(const winograd *g) { return TAPS * g->by.panels * g->k * g->columns * 4; }
static int64_t filters(const winograd *g) { return g->by.panels * g->columns; }

typedef struct packed {
  int8_t *level;
  int32_t *start; /* taps × filters: -128 times the sum of levels */
  float *factor;  /* taps × filters */
  float *constant;
} packed;

static packed packed_at(const winograd *g, void *data) {
  packed p = {.level = data};
  p.start = (int32_t *)(void *)(p.level + level_bytes(g));
  p.factor = (float *)(p.start + TAPS * filters(g));
  p.constant = p.factor + TAPS * filters(g);
  return p;
}

static int64_t pack_bytes(const winograd *g) { return level_bytes(g) + (2 * TAPS + 1) * filters(g) * 4; }

static void place_filter(const winograd *g, const packed *p, int64_t o, const int8_t *u, const float factor[TAPS]) {
  for (int t = 0; t < TAPS; t++) {
    int8_t *to = p->level + ((o / g->columns * TAPS + t) * g->k * g->columns + o % g->columns) * 4;
    int32_t sum = 0;
    for (int64_t c = 0; c < g->in; c++) {
      to[c / 4 * g->columns * 4 + c % 4] = u[t * g->in + c];
      sum += u[t * g->in + c];
    }
    p->start[t * filters(g) + o] = -OFFSET * sum;
    p->factor[t * filters(g) + o] = factor[t];
  }
}

typedef struct packing {
  const winograd *g;
  const int8_t *w;
  packed out;
  int8_t *u; /* a filter's levels a thread */
  int64_t chunk;
} packing;

static void pack_filters(void *context, int64_t begin, int64_t end) {
  const packing *k = context;
  const winograd *g = k->g;
  int8_t *u = k->u + begin * TAPS * g->in;
  for (int64_t i = begin; i < end; i++)
    for (int64_t o = i * k->chunk; o < (i + 1) * k->chunk && o < g->out; o++) {
      float factor[TAPS];
      rt_winograd_int8_filter(&g->attr, k->w + o * 9 * g->in, g->in, u, factor, &k->out.constant[o]);
      place_filter(g, &k->out, o, u, factor);
    }
}

static rt_status pack(void *state, const rt_tensor *in, void *out) {
  const winograd *g = state;
  int parts = rt_chunks(g->out, 1);
  packing k = {.g = g, .w = in->data, .out = packed_at(g, out), .chunk = own_parts(g->out, parts)};
  k.u = rt_alloc_array((size_t)(parts * g->in), TAPS);
  if (!k.u) return RT_E_MEMORY;
  memset(out, 0, (size_t)pack_bytes(g));
  rt_parallel_for(parts, 1, pack_filters, &k);
  rt_free(k.u);
  return RT_OK;
}

static uint64_t form(const winograd *g) {
  const int64_t what[] = {'w', 9, g->in, g->out, g->columns, g->attr.centre};
  uint64_t h = rt_hash(RT_HASH_EMPTY, what, sizeof what);
  return rt_hash(h, g->multiplier, sizeof g->multiplier) | 1;
}

/* ---- run ---- */

typedef struct job {
  const winograd *g;
  const char *x;
  char *y;
  const char *residual;
  packed w;
  const float *scale, *bias;
  char *workspace;
} job;

static void transform(const job *j, int64_t first, int64_t n, uint8_t *v, const void *zero) {
  const winograd *g = j->g;
  const void *pixel[OWN_MOST_SIDE * OWN_MOST_SIDE];
  own_place tile = own_place_at(&g->tiles, first);
  for (int64_t i = 0; i < n; i++, own_place_next(&g->tiles, &tile)) {
    own_tile_input(&g->tiles, &tile, j->x, g->in, zero, pixel);
    g->simd->winograd_int8_input(pixel, g->in, g->multiplier, (int16_t)g->attr.centre, v + i * g->row, g->plane);
  }
}

static void multiply(const job *j, int64_t panel, int64_t n, const uint8_t *v, int32_t *m) {
  const winograd *g = j->g;
  int64_t left = g->out - panel * g->columns;
  int columns = left < g->columns ? (int)left : g->columns;
  for (int t = 0; t < TAPS; t++) {
    const int8_t *w = j->w.level + (panel * TAPS + t) * g->k * g->columns * 4;
    const int32_t *start = j->w.start + t * filters(g) + panel * g->columns;
    for (int64_t i = 0; i < n; i += g->tile_rows)
      g->simd->product_int8(n - i < g->tile_rows ? (int)(n - i) : g->tile_rows, columns, g->k,
                            v + t * g->plane + i * g->row, g->row, w, start, m + t * g->result + i * g->columns,
                            g->columns);
  }
}

static void transform_back(const job *j, int64_t panel, int64_t first, int64_t n, const int32_t *m) {
  const winograd *g = j->g;
  const rt_int8_attr *a = &g->attr.int8;
  int64_t bytes = a->f32 ? 4 : 1, from = panel * g->columns;
  int64_t channels = g->out - from < g->columns ? g->out - from : g->columns;
  const char *y = j->y + from * bytes, *r = j->residual ? j->residual + from * bytes : NULL;
  const rt_winograd_int8_end end = {.factor = j->w.factor + from,
                                    .constant = j->w.constant + from,
                                    .scale = j->scale + from,
                                    .bias = j->bias + from,
                                    .plane = filters(g),
                                    .residual_scale = (float)a->residual_scale,
                                    .high = (float)a->high,
                                    .relu = g->attr.activation == RT_ACTIVATION_RELU,
                                    .f32 = a->f32};
  const void *to[4], *residual[4];
  own_place tile = own_place_at(&g->tiles, first);
  for (int64_t i = 0; i < n; i++, own_place_next(&g->tiles, &tile)) {
    own_tile_output(&g->tiles, &tile, y, g->out * bytes, NULL, to);
    if (r) own_tile_output(&g->tiles, &tile, r, g->out * bytes, NULL, residual);
    g->simd->winograd_int8_output(m + i * g->columns, g->result, channels, &end, (void *const *)to,
                                  r ? residual : NULL);
  }
}

static void run_slots(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const winograd *g = j->g;
  for (int64_t slot = begin; slot < end; slot++) {
    uint8_t *v = (uint8_t *)(j->workspace + slot * g->slot_bytes);
    int32_t *m = (int32_t *)(void *)(v + TAPS * g->plane);
    char *zero = (char *)(m + TAPS * g->result);
    memset(zero, 0, (size_t)g->in);
    for (int64_t task = own_task_of_slot(&g->by, slot); task < own_task_of_slot(&g->by, slot + 1); task++) {
      own_task t = own_task_at(&g->by, task);
      transform(j, t.first, t.n, v, zero);
      for (int64_t panel = t.panel; panel < t.panel_end; panel++) {
        multiply(j, panel, t.n, v, m);
        transform_back(j, panel, t.first, t.n, m);
      }
    }
  }
}

static rt_status run(const rt_kernel_call *call) {
  const winograd *g = call->site->state;
  const job j = {.g = g,
                 .x = call->in[0]->data,
                 .y = call->out[0].data,
                 .residual = own_in(call, 4),
                 .w = packed_at(g, call->in[1]->data),
                 .scale = call->in[2]->data,
                 .bias = call->in[3]->data,
                 .workspace = call->workspace};
  rt_parallel_for(g->by.slots, 1, run_slots, (void *)(uintptr_t)&j);
  return RT_OK;
}

/* ---- the row ---- */

static bool accepts(const rt_site *site) {
  const rt_type *residual = own_in_type(site, 4);
  return own_channels_innermost(site->in[0]) && own_channels_innermost(site->out) &&
         site->in[1]->layout == RT_ROW_MAJOR && (!residual || own_channels_innermost(residual));
}

static void release(void *state) { rt_free(state); }

static rt_status prepare(rt_site *site) {
  winograd *g = rt_alloc(sizeof *g), *for_pack = rt_alloc(sizeof *for_pack); /* the pack releases its own */
  site->state = g;
  if (!g || !for_pack) {
    rt_free(for_pack);
    return RT_E_MEMORY;
  }
  *g = *for_pack = winograd_of(site);
  site->workspace = g->by.slots * g->slot_bytes;
  site->pack[site->n_packs++] = (rt_pack){.input = 1,
                                          .bytes = pack_bytes(g),
                                          .key = form(g),
                                          .source = RT_S8,
                                          .state = for_pack,
                                          .run = pack,
                                          .release = release};
  return RT_OK;
}

const rt_kernel rt_kernel_winograd_int8 = {
    "own_winograd_int8", RT_OP(conv2d_winograd_int8), accepts, prepare, run, release};
