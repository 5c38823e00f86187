/* IDX, the format of MNIST, big-endian:
 *
 *   0 0 8 R | dim 0: u32 | … | dim R-1: u32 | u8 values, row major
 *
 * 8 says u8; R is the rank: 1 for labels, 3 for images. */
#ifndef RT_DATA_IDX_H
#define RT_DATA_IDX_H

#include "base/status.h"

enum { RT_IDX_RANKS = 3 };

typedef struct rt_idx {
  int64_t dim[RT_IDX_RANKS];
  const uint8_t *value; /* in the file's bytes */
} rt_idx;

/* `path` is for the sentence only. */
rt_status rt_idx_parse(const uint8_t *bytes, int64_t n, int rank, const char *path, rt_idx *out);

#endif
