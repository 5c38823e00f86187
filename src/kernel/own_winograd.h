/* What the Winograd kernels share: images cut into tiles of 2×2 results, each made of 4×4 pixels. */
#ifndef RT_KERNEL_OWN_WINOGRAD_H
#define RT_KERNEL_OWN_WINOGRAD_H

#include "kernel/own.h"

typedef struct own_tiles {
  int64_t h, w, oh, ow;  /* of an image and of its result */
  int64_t top, left;     /* padding */
  int64_t down, across;  /* tiles of an image */
  int64_t n;             /* of all */
} own_tiles;

typedef struct own_place {
  int64_t n, y, x; /* image and result pixel */
} own_place;

own_tiles own_tiles_of(const rt_type *x, const rt_type *y, const int64_t padding[2]);
/* Addresses of a tile's 4×4 pixels of x and 2×2 of y, a pixel being `bytes` long; `outside` for those that don't exist. */
void own_tile_input(const own_tiles *t, int64_t tile, const void *x, int64_t bytes, const void *zero,
                    const void *pixel[16]);
void own_tile_output(const own_tiles *t, int64_t tile, const void *y, int64_t bytes, const void *outside,
                     const void *pixel[4]);

/* 3×3, stride 1, one group, channels innermost, a CPU whose vectors are worth it. */
bool own_winograd_shape(const rt_conv2d_attr *a, const rt_type *x, const rt_type *w, const rt_type *y);

#endif
