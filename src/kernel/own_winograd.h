/* What the Winograd kernels share: images cut into tiles of m×m results, each made of (m + 2)×(m + 2) pixels (5×5 with a
 * stride of 2), and the choice of m. */
#ifndef RT_KERNEL_OWN_WINOGRAD_H
#define RT_KERNEL_OWN_WINOGRAD_H

#include "kernel/own.h"

enum { OWN_MOST_SIDE = 6 };

static inline int64_t own_parts(int64_t n, int64_t of) { return (n + of - 1) / of; }

typedef enum own_direction { OWN_FORWARD, OWN_BY_DATA, OWN_BY_WEIGHT } own_direction;

/* A plane of transformed pixels times one of weights is part of a sum. */
typedef struct own_product {
  int8_t sum;
  bool add; /* to what earlier products left there */
} own_product;

/* The transforms of one tile size, stride and dtype; see simd.def. */
typedef struct own_transforms {
  int m, side, planes; /* side² = planes */
  int sums;
  const own_product *product; /* of each plane; NULL: each is a sum */
  void (*input)(const void *const *pixel, int64_t c, void *v, int64_t plane);
  void (*output)(const float *m, int64_t plane, int64_t c, void *const *y, const float *bias,
                 const void *const *residual, bool relu);
  void (*filter[2])(const void *w, int64_t step, int64_t stride, bool turned, int64_t n, bool pairs, bool single,
                    void *out, int64_t plane); /* by the weights' dtype */
  void (*image)(const void *const *pixel, int row, int64_t c, void *v, int64_t plane, int64_t width, int64_t panel);
  void (*gradient)(const void *const *pixel, int row, int64_t c, void *v, int64_t plane);
  void (*weight_gradient)(const float *u, int64_t plane, int64_t n, float *w);
} own_transforms;

own_transforms own_transforms_of(int m, int64_t stride, rt_dtype dtype);

typedef struct own_tiles {
  int m, side, step;    /* results, pixels; pixels from tile to tile */
  int64_t h, w, oh, ow; /* of an image and of its result */
  int64_t top, left;    /* padding */
  int64_t down, across; /* tiles of an image */
  int64_t images, n;    /* n: tiles of all */
} own_tiles;

own_tiles own_tiles_of(int m, int64_t stride, const rt_type *x, const rt_type *y, const int64_t padding[2]);

typedef struct own_place {
  int64_t image, row, column;
} own_place;

own_place own_place_at(const own_tiles *t, int64_t number);
void own_place_next(const own_tiles *t, own_place *tile);
/* Addresses of a tile's pixels of x and of y, a pixel being `bytes` long; `outside` for those that don't exist. */
void own_tile_input(const own_tiles *t, const own_place *tile, const void *x, int64_t bytes, const void *outside,
                    const void **pixel);
void own_tile_output(const own_tiles *t, const own_place *tile, const void *y, int64_t bytes, const void *outside,
                     const void **pixel);
void own_tile_none(int n, const void *outside, const void **pixel); /* all n of them outside */

/* How tiles are shared out: a thread takes a block of them, with all panels of output channels or, where blocks are few, a part
 * of the panels. */
typedef struct own_blocks {
  int64_t tiles, block, blocks; /* of all; tiles of a block; blocks */
  int64_t panels, split;        /* panels; parts that a block's panels are cut into */
  int slots;                    /* threads */
} own_blocks;

/* Of tiles that take `bytes` of the nearest caches each, in blocks of at most `most` times tile_rows. */
own_blocks own_blocks_of(int64_t tiles, int64_t bytes, int tile_rows, int most, int64_t panels);

typedef struct own_task {
  int64_t first, n;         /* tiles */
  int64_t panel, panel_end; /* panels from … up to, not with … */
} own_task;

int64_t own_task_of_slot(const own_blocks *b, int64_t slot); /* the first; the next slot's is the end */
own_task own_task_at(const own_blocks *b, int64_t task);

/* Tile size that a convolution of x with w is to run with; 0 where Winograd doesn't apply or doesn't pay. */
int own_winograd_choice(own_direction direction, const rt_conv2d_attr *a, const rt_type *x, const rt_type *w,
                        const rt_type *y);

#endif
