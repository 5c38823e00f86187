/* Tiles, transforms, and when Winograd pays. */
#include "kernel/own_winograd.h"

#include <stdio.h>

/* Of 5×5 planes rows and columns 0 and 1 make the first of three, 2 the second, 3 and 4 the third. */
static const own_product strided[25] = {
    {0, false}, {0, true},  {1, false}, {2, false}, {2, true},  {0, true}, {0, true},  {1, true}, {2, true},
    {2, true},  {3, false}, {3, true},  {4, false}, {5, false}, {5, true}, {6, false}, {6, true}, {7, false},
    {8, false}, {8, true},  {6, true},  {6, true},  {7, true},  {8, true}, {8, true},
};

own_transforms own_transforms_of(int m, int64_t stride, rt_dtype dtype) {
  const rt_simd *s = rt_simd_get();
  own_transforms t = {.m = m, .side = m + 2, .planes = (m + 2) * (m + 2), .sums = (m + 2) * (m + 2)};
  if (stride == 2) {
    t.side = 5;
    t.planes = 25;
    t.sums = 9;
    t.product = strided;
    t.input = s->winograd_strided_input[dtype];
    t.output = s->winograd_strided_output[dtype];
    t.filter[RT_F32] = s->winograd_strided_filter[RT_F32];
    t.filter[RT_BF16] = s->winograd_strided_filter[RT_BF16];
  } else if (m == 4) {
    t.input = s->winograd4_input;
    t.output = s->winograd4_output;
    t.filter[RT_F32] = s->winograd4_filter;
    t.image = s->winograd4_image;
    t.gradient = s->winograd4_gradient;
    t.weight_gradient = s->winograd4_weight_gradient;
  } else {
    t.input = s->winograd2_input[dtype];
    t.output = s->winograd2_output[dtype];
    t.filter[RT_F32] = s->winograd2_filter[RT_F32];
    t.filter[RT_BF16] = s->winograd2_filter[RT_BF16];
    t.image = s->winograd2_image[dtype];
    t.gradient = s->winograd2_gradient[dtype];
    t.weight_gradient = s->winograd2_weight_gradient;
  }
  return t;
}

own_tiles own_tiles_of(int m, int64_t stride, const rt_type *x, const rt_type *y, const int64_t padding[2]) {
  own_tiles t = {.m = m, .side = (m - 1) * (int)stride + 3, .step = m * (int)stride};
  t.h = x->dim[2];
  t.w = x->dim[3];
  t.oh = y->dim[2];
  t.ow = y->dim[3];
  t.top = padding[0];
  t.left = padding[1];
  t.down = (t.oh + m - 1) / m;
  t.across = (t.ow + m - 1) / m;
  t.images = x->dim[0];
  t.n = t.images * t.down * t.across;
  return t;
}

/* The size×size pixels of an image (h×w) from (y, x) on. */
static void pixels(const char *image, int64_t bytes, int64_t h, int64_t w, int64_t y, int64_t x, int size,
                   const void *outside, const void **pixel) {
  const char *row = image + (y * w + x) * bytes;
  if (y >= 0 && y + size <= h && x >= 0 && x + size <= w) {
    for (int i = 0; i < size; i++, row += w * bytes)
      for (int j = 0; j < size; j++) *pixel++ = row + j * bytes;
    return;
  }
  for (int i = 0; i < size; i++, row += w * bytes)
    for (int j = 0; j < size; j++) {
      bool inside = y + i >= 0 && y + i < h && x + j >= 0 && x + j < w;
      *pixel++ = inside ? row + j * bytes : outside;
    }
}

own_place own_place_at(const own_tiles *t, int64_t number) {
  int64_t per = t->down * t->across;
  return (own_place){number / per, number % per / t->across, number % t->across};
}

void own_place_next(const own_tiles *t, own_place *tile) {
  if (++tile->column < t->across) return;
  tile->column = 0;
  if (++tile->row < t->down) return;
  tile->row = 0;
  tile->image++;
}

void own_tile_input(const own_tiles *t, const own_place *tile, const void *x, int64_t bytes, const void *outside,
                    const void **pixel) {
  pixels((const char *)x + tile->image * t->h * t->w * bytes, bytes, t->h, t->w, tile->row * t->step - t->top,
         tile->column * t->step - t->left, t->side, outside, pixel);
}

void own_tile_output(const own_tiles *t, const own_place *tile, const void *y, int64_t bytes, const void *outside,
                     const void **pixel) {
  pixels((const char *)y + tile->image * t->oh * t->ow * bytes, bytes, t->oh, t->ow, tile->row * t->m,
         tile->column * t->m, t->m, outside, pixel);
}

void own_tile_none(int n, const void *outside, const void **pixel) {
  for (int i = 0; i < n; i++) pixel[i] = outside;
}

/* ---- blocks ---- */

/* What a block takes is half of the second cache at most. */
own_blocks own_blocks_of(int64_t tiles, int64_t bytes, int tile_rows, int most, int64_t panels) {
  own_blocks b = {.tiles = tiles, .panels = panels, .split = 1, .slots = rt_threads()};
  int64_t fit = rt_cpu_get()->l2 / 2 / bytes / tile_rows * tile_rows;
  fit = fit < tile_rows ? tile_rows : fit > most * tile_rows ? most * tile_rows : fit;
  /* With few tiles what takes time is to read the weights: threads share the panels, so that each reads a part of them. */
  int64_t share = tiles >= 4 * tile_rows ? 1 : panels < b.slots ? panels : b.slots;
  int64_t threads = own_parts(b.slots, share), rounds = own_parts(tiles, fit * threads);
  int64_t even = own_parts(tiles, rounds * threads); /* as much for every thread */
  b.block = even < fit ? even : fit;
  b.blocks = own_parts(tiles, b.block);
  if (b.blocks < b.slots) b.split = own_parts(b.slots, b.blocks);
  if (b.split > panels) b.split = panels;
  if (b.blocks * b.split < b.slots) b.slots = (int)(b.blocks * b.split);
  return b;
}

int64_t own_task_of_slot(const own_blocks *b, int64_t slot) { return b->blocks * b->split * slot / b->slots; }

own_task own_task_at(const own_blocks *b, int64_t task) {
  int64_t first = task / b->split * b->block, part = task % b->split;
  return (own_task){.first = first,
                    .n = b->tiles - first < b->block ? b->tiles - first : b->block,
                    .panel = b->panels * part / b->split,
                    .panel_end = b->panels * (part + 1) / b->split};
}

/* ---- choice ---- */

/* Measured by scripts/bench kernels on Zen 4, with AVX-512 and limited to AVX2; the first row that fits is taken. On AMX,
 * products in bf16 are so fast that transforms can't pay (not measured: no such CPU was at hand). In bf16, tiles of 4×4
 * would cost 3 to 4 times a direct kernel's error. On AVX2 weights of a stride of 2 that leave the second cache lose (1.3
 * to 2.4 times). */
typedef struct choice {
  own_direction direction;
  int stride;
  rt_dtype dtype;
  rt_isa least, most;
  int64_t channels; /* in and out, at least: with fewer, transforms are what is done */
  int m;
} choice;

static const choice choices[] = {
    {OWN_FORWARD, 1, RT_BF16, RT_ISA_AVX512_BF16, RT_ISA_AVX512_BF16, 24, 2},
    {OWN_BY_DATA, 1, RT_BF16, RT_ISA_AVX512_BF16, RT_ISA_AVX512_BF16, 24, 2},
    {OWN_BY_WEIGHT, 1, RT_BF16, RT_ISA_AVX512_BF16, RT_ISA_AVX512_BF16, 24, 2},
    {OWN_FORWARD, 1, RT_F32, RT_ISA_AVX2, RT_ISA_AMX, 16, 4},
    {OWN_BY_DATA, 1, RT_F32, RT_ISA_AVX2, RT_ISA_AMX, 16, 4},
    {OWN_BY_WEIGHT, 1, RT_F32, RT_ISA_AVX2, RT_ISA_AMX, 24, 4},
    {OWN_FORWARD, 1, RT_F32, RT_ISA_AVX2, RT_ISA_AMX, 24, 2},
    {OWN_BY_DATA, 1, RT_F32, RT_ISA_AVX2, RT_ISA_AMX, 24, 2},
    {OWN_BY_WEIGHT, 1, RT_F32, RT_ISA_AVX2, RT_ISA_AMX, 24, 2},
    {OWN_FORWARD, 2, RT_BF16, RT_ISA_AVX512_BF16, RT_ISA_AVX512_BF16, 24, 2},
    {OWN_FORWARD, 2, RT_F32, RT_ISA_AVX512, RT_ISA_AMX, 24, 2},
};

/* With fewer tiles than this for the channels, reading the weights is what takes the time, and transformed ones are more. */
enum { CHANNELS_PER_TILE = 64 };

static bool applies(const rt_conv2d_attr *a, const rt_type *x, const rt_type *w, const rt_type *y) {
  for (int i = 0; i < 2; i++)
    if (a->stride[i] != a->stride[0] || a->dilation[i] != 1 || a->padding[i] > 2 || w->dim[2 + i] != 3) return false;
  return a->groups == 1 && x->dtype == y->dtype && own_channels_innermost(x) && own_channels_innermost(y) &&
         w->layout == RT_ROW_MAJOR;
}

int own_winograd_choice(own_direction direction, const rt_conv2d_attr *a, const rt_type *x, const rt_type *w,
                        const rt_type *y) {
  if (!applies(a, x, w, y)) return 0;
  rt_isa isa = rt_cpu_get()->isa;
  int64_t channels = w->dim[0] < w->dim[1] ? w->dim[0] : w->dim[1], most = w->dim[0] + w->dim[1] - channels;
  for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
    const choice *c = &choices[i];
    if (c->direction == direction && c->stride == a->stride[0] && c->dtype == x->dtype && isa >= c->least &&
        isa <= c->most && channels >= c->channels &&
        own_tiles_of(c->m, c->stride, x, y, a->padding).n * CHANNELS_PER_TILE >= most)
      return c->m;
  }
  return 0;
}

const char *rt_kernel_winograd_forms(char *buffer, size_t size) {
  static const char *const name[] = {[RT_F32] = "fp32", [RT_BF16] = "bf16"};
  rt_isa isa = rt_cpu_get()->isa;
  int used = snprintf(buffer, size, "%s", "");
  for (rt_dtype dtype = RT_F32; dtype <= RT_BF16; dtype++)
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
      const choice *c = &choices[i];
      if (c->direction != OWN_FORWARD || c->dtype != dtype || isa < c->least || isa > c->most) continue;
      used += snprintf(buffer + used, size - (size_t)used, "%sF(%d×%d, 3×3) in %s", used ? ", " : "", c->m, c->m,
                       name[dtype]);
      break;
    }
  if (!used) snprintf(buffer, size, "none");
  return buffer;
}
