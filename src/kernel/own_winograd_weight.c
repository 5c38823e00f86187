/* The gradient of a 3×3 convolution of stride 1 by its weights as Winograd's F(3×3, m×m): tiles of m×m of dy and
 * (m + 2)×(m + 2) of x are transformed into planes, of which each is one matrix product whose inner dimension is the tiles:
 *   U_p (O × I) = Σ_tiles dY_p (O) · X_p (I),   dw = Cᵀ U C
 * Tiles are taken in blocks that stay in the second cache; sums U are added to, block after block. A thread has a part: all
 * planes of a share of the tiles, or, where U is large, one row of planes, so that nobody sums what is far away. */
#include "kernel/own_winograd.h"

#include "base/alloc.h"

typedef struct winograd {
  own_tiles tiles;
  own_transforms transforms;
  const rt_simd *simd;
  rt_dtype dtype;
  int64_t in, out;
  int64_t in_row, out_row;    /* of U, in floats; of transformed dy, in words */
  int64_t panels;             /* of x: columns of the product */
  int64_t steps;              /* words of the inner dimension of a block: tiles, or pairs of them */
  int64_t block, blocks;      /* tiles */
  int64_t x_plane, dy_plane;  /* words of a block */
  int groups, shares, planes; /* parts = groups of planes × shares of the tiles; planes of a part */
  int tile_rows, columns, lanes;
  int slots;
  int64_t slot_bytes, share_floats; /* a thread's buffers; U of one share */
} winograd;

static winograd winograd_of(const rt_site *site) {
  const rt_conv2d_attr *a = site->attr;
  const rt_type *dy = site->in[0], *x = site->in[1];
  winograd g = {.simd = rt_simd_get(), .dtype = x->dtype, .in = x->dim[1], .out = dy->dim[1]};
  int threads = rt_threads();
  int64_t l2 = rt_cpu_get()->l2;
  g.transforms = own_transforms_of(own_winograd_choice(OWN_BY_WEIGHT, a, x, site->out, dy), 1, g.dtype);
  g.tiles = own_tiles_of(g.transforms.m, 1, x, dy, a->padding);
  g.simd->product_shape(&g.tile_rows, &g.columns, &g.lanes);
  g.in_row = own_up(g.in, g.lanes);
  g.out_row = own_up(g.out, g.lanes);
  if (g.out_row * 4 % 1024 == 0) g.out_row += g.lanes; /* powers of two collide in the caches */
  g.panels = own_parts(g.in, g.columns);
  g.share_floats = g.transforms.planes * g.out * g.in_row;
  g.groups = g.share_floats * 4 > l2 ? g.transforms.side : 1;
  g.planes = g.transforms.planes / g.groups;
  g.shares = (int)own_parts(threads, g.groups);
  int64_t words = g.dtype == RT_BF16 ? 2 : 1;
  int64_t most = l2 / 2 / (g.planes * 4 * (g.panels * g.columns + g.out_row)); /* steps */
  most = most < 16 ? 16 : most > 256 ? 256 : most;
  int64_t all = own_parts(own_parts(g.tiles.n, words), g.shares);
  g.steps = own_parts(all, own_parts(all, most));
  g.block = g.steps * words;
  g.blocks = own_parts(g.tiles.n, g.block);
  if (g.blocks < g.shares) g.shares = (int)g.blocks;
  g.x_plane = g.panels * g.steps * g.columns + g.lanes;
  g.dy_plane = g.steps * g.out_row + g.lanes;
  g.slots = threads < g.groups * g.shares ? threads : g.groups * g.shares;
  g.slot_bytes = own_up(4 * (g.planes * (g.x_plane + g.dy_plane) + (g.in > g.out ? g.in : g.out)), 64);
  return g;
}

typedef struct job {
  const winograd *g;
  const void *x, *dy;
  float *dw, *u;
  char *slots;
} job;

/* Both sides of a block, transformed. */
static void transform(const job *j, int rows, int64_t first, uint32_t *x, uint32_t *dy, const void *zero) {
  const winograd *g = j->g;
  int64_t words = g->dtype == RT_BF16 ? 2 : 1, bytes = (int64_t)rt_dtype_size(g->dtype);
  int m = g->transforms.m;
  const void *pixel[2 * OWN_MOST_SIDE * OWN_MOST_SIDE], *result[2 * OWN_MOST_SIDE * OWN_MOST_SIDE];
  own_place tile = own_place_at(&g->tiles, first);
  for (int64_t s = 0; s < g->steps; s++) {
    for (int64_t i = 0; i < words; i++, own_place_next(&g->tiles, &tile)) {
      if (tile.image < g->tiles.images) {
        own_tile_input(&g->tiles, &tile, j->x, g->in * bytes, zero, pixel + g->transforms.planes * i);
        own_tile_output(&g->tiles, &tile, j->dy, g->out * bytes, zero, result + m * m * i);
      } else { /* past the last */
        own_tile_none(g->transforms.planes, zero, pixel + g->transforms.planes * i);
        own_tile_none(m * m, zero, result + m * m * i);
      }
    }
    g->transforms.image(pixel, rows, g->in, x + s * g->columns, g->x_plane, g->columns, g->steps * g->columns);
    g->transforms.gradient(result, rows, g->out, dy + s * g->out_row, g->dy_plane);
  }
}

static void multiply(const winograd *g, const uint32_t *x, const uint32_t *dy, float *u, bool add) {
  for (int p = 0; p < g->planes; p++, x += g->x_plane, dy += g->dy_plane, u += g->out * g->in_row)
    for (int64_t panel = 0; panel < g->panels; panel++) {
      int64_t from = panel * g->columns, left = g->in - from;
      int columns = left < g->columns ? (int)left : g->columns;
      for (int64_t o = 0; o < g->out; o += g->tile_rows)
        g->simd->product[g->dtype](g->out - o < g->tile_rows ? (int)(g->out - o) : g->tile_rows, columns, g->steps,
                                   dy + o, 1, g->out_row, x + panel * g->steps * g->columns, g->columns,
                                   u + o * g->in_row + from, g->in_row, add);
    }
}

static void run_slots(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const winograd *g = j->g;
  for (int64_t slot = begin; slot < end; slot++) {
    uint32_t *x = (uint32_t *)(j->slots + slot * g->slot_bytes), *dy = x + g->planes * g->x_plane;
    uint32_t *zero = dy + g->planes * g->dy_plane;
    memset(zero, 0, (size_t)(g->in > g->out ? g->in : g->out) * sizeof *zero);
    int64_t all = g->groups * g->shares;
    for (int64_t part = all * slot / g->slots; part < all * (slot + 1) / g->slots; part++) {
      int64_t group = part % g->groups, share = part / g->groups;
      float *u = j->u + share * g->share_floats + group * g->planes * g->out * g->in_row;
      int64_t from = g->blocks * share / g->shares, to = g->blocks * (share + 1) / g->shares;
      for (int64_t b = from; b < to; b++) {
        transform(j, g->groups == 1 ? g->transforms.side : (int)group, b * g->block, x, dy, zero);
        multiply(g, x, dy, u, b > from);
      }
    }
  }
}

/* Shares are summed in their order. */
static void transform_back(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const winograd *g = j->g;
  int64_t plane = g->out * g->in_row;
  for (int64_t o = begin; o < end; o++) {
    float *u = j->u + o * g->in_row;
    for (int64_t share = 1; share < g->shares; share++)
      for (int k = 0; k < g->transforms.planes; k++)
        g->simd->binary_add(u + k * plane, u + share * g->share_floats + k * plane, u + k * plane, g->in);
    g->transforms.weight_gradient(u, plane, g->in, j->dw + o * g->in * 9);
  }
}

static rt_status run(const rt_kernel_call *call) {
  const winograd *g = call->site->state;
  job j = {.g = g, .dy = call->in[0]->data, .x = call->in[1]->data, .dw = call->out[0].data, .u = call->workspace};
  j.slots = (char *)(j.u + g->shares * g->share_floats);
  rt_parallel_for(g->slots, 1, run_slots, &j);
  rt_parallel_for(g->out, 1 + OWN_GRAIN / (g->transforms.planes * g->in), transform_back, &j);
  if (call->site->n_out > 1) own_sum_pixels(call->in[0], &call->out[1], call->workspace);
  return RT_OK;
}

static bool accepts(const rt_site *site) {
  return site->out->dtype == RT_F32 && (site->n_out == 1 || site->out[1].dtype == RT_F32) &&
         own_winograd_choice(OWN_BY_WEIGHT, site->attr, site->in[1], site->out, site->in[0]);
}

static void release(void *state) { rt_free(state); }

static rt_status prepare(rt_site *site) {
  winograd *g = rt_alloc(sizeof *g);
  if (!g) return RT_E_MEMORY;
  site->state = g;
  *g = winograd_of(site);
  site->workspace = g->shares * g->share_floats * 4 + g->slots * g->slot_bytes;
  int64_t sums = own_sum_pixels_bytes(g->out);
  if (site->n_out > 1 && site->workspace < sums) site->workspace = sums;
  return RT_OK;
}

const rt_kernel rt_kernel_winograd_backward_weight = {
    "own_winograd_weight", RT_OP(conv2d_backward_weight), accepts, prepare, run, release, .winograd = true};
