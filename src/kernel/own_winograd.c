/* 3×3 convolutions of stride 1 and their gradients by data as Winograd's F(2×2, 3×3) and F(4×4, 3×3): 16 products for a
 * tile of 2×2 results where a direct convolution needs 36, or 36 for 4×4 where it needs 144; those of stride 2 with 25
 * for 36. A thread takes a block of
 * tiles: transforms them into the nearest caches, multiplies each plane of transformed values by the weights' (transformed
 * once, as a pack), and transforms the products of a panel of channels back while they are still near. The gradient by data
 * is the same with turned weights. */
#include "kernel/own_winograd.h"

#include "base/alloc.h"
#include "base/rng.h"

typedef struct winograd {
  own_tiles tiles;
  own_transforms transforms;
  const rt_simd *simd;
  rt_dtype dtype;
  bool turned;
  int64_t in, out;      /* channels */
  int64_t k;            /* words of a row of the product */
  int64_t row, plane;   /* words from tile to tile and from plane to plane of the transformed input */
  int64_t result_plane; /* floats */
  own_blocks by;
  int tile_rows, columns, lanes;
  int64_t slot_bytes; /* of workspace */
} winograd;

static winograd winograd_of(const rt_site *site) {
  const rt_conv2d_attr *a = site->attr;
  const rt_type *x = site->in[0], *y = site->out;
  winograd g = {.simd = rt_simd_get(), .dtype = x->dtype, .in = x->dim[1], .out = y->dim[1]};
  g.turned = site->op == RT_OP(conv2d_backward_data);
  int m = own_winograd_choice(g.turned ? OWN_BY_DATA : OWN_FORWARD, a, x, site->in[1], y);
  g.transforms = own_transforms_of(m, a->stride[0], g.dtype);
  g.tiles =
      own_tiles_of(m, a->stride[0], x, y, g.turned ? (int64_t[]){2 - a->padding[0], 2 - a->padding[1]} : a->padding);
  g.simd->product_shape(&g.tile_rows, &g.columns, &g.lanes);
  int64_t words = g.dtype == RT_BF16 ? 2 : 1;
  g.k = own_parts(g.in, words);
  g.row = own_up(g.k, g.lanes);
  if (g.row * 4 % 1024 == 0) g.row += g.lanes; /* powers of two collide in the caches */
  g.by = own_blocks_of(g.tiles.n, 4 * (g.transforms.planes * g.row + g.transforms.sums * g.columns), g.tile_rows, 16,
                       own_parts(g.out, g.columns));
  g.plane = g.by.block * g.row + g.lanes;
  g.result_plane = g.by.block * g.columns + g.lanes;
  g.slot_bytes =
      own_up(4 * (g.transforms.planes * g.plane + g.transforms.sums * g.result_plane + own_up(g.in, g.lanes)), 64);
  return g;
}

/* ---- weights: planes × panels × k × columns ---- */

typedef struct filtering {
  const winograd *g;
  const rt_tensor *w;
  uint32_t *out;
} filtering;

static void filter(void *p, int64_t begin, int64_t end) {
  const filtering *f = p;
  const winograd *g = f->g;
  int64_t element = (int64_t)rt_dtype_size(f->w->dtype), words = g->dtype == RT_BF16 ? 2 : 1;
  int64_t step = g->turned ? 9 * g->out : 9, stride = g->turned ? 9 : 9 * g->in;
  for (int64_t k = begin; k < end; k++)
    for (int64_t o = 0; o < g->out; o += g->lanes) {
      const char *from = (const char *)f->w->data + (k * words * step + o * stride) * element;
      uint32_t *to = f->out + (o / g->columns * g->k + k) * g->columns + o % g->columns;
      int64_t n = g->out - o < g->lanes ? g->out - o : g->lanes;
      g->transforms.filter[f->w->dtype](from, step, stride, g->turned, n, words == 2, k * words + 1 >= g->in, to,
                                        g->by.panels * g->k * g->columns);
    }
}

static rt_status pack(void *state, const rt_tensor *in, void *out) {
  filtering f = {state, in, out};
  rt_parallel_for(f.g->k, 1 + OWN_GRAIN / (9 * f.g->out), filter, &f);
  return RT_OK;
}

static uint64_t form(const winograd *g) {
  const int64_t what[] = {'W', g->transforms.m, g->transforms.planes, g->dtype, g->turned, g->in, g->out, g->columns};
  return rt_hash(RT_HASH_EMPTY, what, sizeof what) | 1;
}

/* ---- run ---- */

typedef struct job {
  const winograd *g;
  const void *x, *w, *residual;
  void *y;
  const float *bias;
  bool relu;
  char *workspace;
} job;

static void transform(const job *j, int64_t first, int64_t n, uint32_t *v, const void *zero) {
  const winograd *g = j->g;
  const void *pixel[OWN_MOST_SIDE * OWN_MOST_SIDE];
  own_place tile = own_place_at(&g->tiles, first);
  for (int64_t i = 0; i < n; i++, own_place_next(&g->tiles, &tile)) {
    own_tile_input(&g->tiles, &tile, j->x, g->in * (int64_t)rt_dtype_size(g->dtype), zero, pixel);
    g->transforms.input(pixel, g->in, v + i * g->row, g->plane);
  }
}

static void multiply(const job *j, int64_t panel, int64_t n, const uint32_t *v, float *m) {
  const winograd *g = j->g;
  int64_t left = g->out - panel * g->columns;
  int columns = left < g->columns ? (int)left : g->columns;
  for (int p = 0; p < g->transforms.planes; p++) {
    own_product to = g->transforms.product ? g->transforms.product[p] : (own_product){(int8_t)p, false};
    const uint32_t *w = (const uint32_t *)j->w + (p * g->by.panels + panel) * g->k * g->columns;
    for (int64_t i = 0; i < n; i += g->tile_rows)
      g->simd->product[g->dtype](n - i < g->tile_rows ? (int)(n - i) : g->tile_rows, columns, g->k,
                                 v + p * g->plane + i * g->row, g->row, 1, w, g->columns,
                                 m + to.sum * g->result_plane + i * g->columns, g->columns, to.add);
  }
}

static void transform_back(const job *j, int64_t panel, int64_t first, int64_t n, const float *m) {
  const winograd *g = j->g;
  int64_t bytes = (int64_t)rt_dtype_size(g->dtype), from = panel * g->columns;
  int64_t channels = g->out - from < g->columns ? g->out - from : g->columns;
  const char *y = (const char *)j->y + from * bytes, *r = j->residual ? (const char *)j->residual + from * bytes : NULL;
  const void *to[16], *residual[16];
  own_place tile = own_place_at(&g->tiles, first);
  for (int64_t i = 0; i < n; i++, own_place_next(&g->tiles, &tile)) {
    own_tile_output(&g->tiles, &tile, y, g->out * bytes, NULL, to);
    if (r) own_tile_output(&g->tiles, &tile, r, g->out * bytes, NULL, residual);
    g->transforms.output(m + i * g->columns, g->result_plane, channels, (void *const *)to,
                         j->bias ? j->bias + from : NULL, r ? residual : NULL, j->relu);
  }
}

static void run_slots(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const winograd *g = j->g;
  for (int64_t slot = begin; slot < end; slot++) {
    uint32_t *v = (uint32_t *)(j->workspace + slot * g->slot_bytes);
    float *m = (float *)(v + g->transforms.planes * g->plane), *zero = m + g->transforms.sums * g->result_plane;
    memset(zero, 0, (size_t)g->in * sizeof *zero);
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
  const rt_site *site = call->site;
  const rt_conv2d_attr *a = site->attr;
  const winograd *g = site->state;
  job j = {
      .g = g, .x = call->in[0]->data, .w = call->in[1]->data, .y = call->out[0].data, .workspace = call->workspace};
  if (!g->turned) {
    j.bias = own_in(call, 2);
    j.residual = own_in(call, 3);
    j.relu = a->activation == RT_ACTIVATION_RELU;
  }
  rt_parallel_for(g->by.slots, 1, run_slots, &j);
  return RT_OK;
}

/* ---- rows ---- */

static bool accepts_forward(const rt_site *site) {
  const rt_type *x = site->in[0], *w = site->in[1], *bias = own_in_type(site, 2), *residual = own_in_type(site, 3);
  return own_winograd_choice(OWN_FORWARD, site->attr, x, w, site->out) && w->dtype == x->dtype &&
         (!bias || bias->dtype == RT_F32) &&
         (!residual || (residual->dtype == x->dtype && own_channels_innermost(residual)));
}

static bool accepts_backward_data(const rt_site *site) {
  return own_winograd_choice(OWN_BY_DATA, site->attr, site->in[0], site->in[1], site->out) &&
         site->in[1]->dtype == site->in[0]->dtype;
}

static void release(void *state) { rt_free(state); }

static rt_status prepare(rt_site *site) {
  winograd *g = rt_alloc(sizeof *g);
  if (!g) return RT_E_MEMORY;
  site->state = g;
  *g = winograd_of(site);
  site->workspace = g->by.slots * g->slot_bytes;
  winograd *packing = rt_alloc(sizeof *packing); /* the pack releases its own */
  if (!packing) return RT_E_MEMORY;
  *packing = *g;
  site->pack[site->n_packs++] = (rt_pack){.input = 1,
                                          .bytes = g->transforms.planes * g->by.panels * g->k * g->columns * 4,
                                          .key = form(g),
                                          .source = RT_F32,
                                          .state = packing,
                                          .run = pack,
                                          .release = release};
  return RT_OK;
}

const rt_kernel rt_kernel_winograd = {"own_winograd", RT_OP(conv2d),   accepts_forward, prepare, run,
                                      release,        .winograd = true};
const rt_kernel rt_kernel_winograd_backward_data = {
    "own_winograd_data", RT_OP(conv2d_backward_data), accepts_backward_data, prepare, run, release, .winograd = true};
