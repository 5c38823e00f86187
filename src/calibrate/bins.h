/* A histogram that grows with what it sees. Bins are as wide as a power of two and begin at multiples of it, so that a
 * wider range merges whole bins: no count is ever split, and the result doesn't depend on the order of batches. Zeros are
 * counted apart, for every grid has them exactly. */
#ifndef RT_CALIBRATE_BINS_H
#define RT_CALIBRATE_BINS_H

#include "calibrate/calibrate.h"

enum { RT_BINS = 2048, RT_BIN_CHUNKS = 16 };

typedef struct rt_bins {
  int exponent;  /* a bin is 2^exponent wide */
  int64_t first; /* bin 0 begins at first·2^exponent */
  int64_t count[RT_BINS];
  int64_t zeros, total;
  int64_t part[RT_BIN_CHUNKS][RT_BINS + 1]; /* of one batch, a chunk of it each; its zeros behind */
} rt_bins;

/* State of the rows that keep one. */
rt_status rt_bins_see(void *bins, const void *options, const rt_seen *seen, const float *x, int64_t n);

double rt_bin_edge(const rt_bins *bins, int64_t i);
/* A bin that begins at 0, or ends there: in 0 … RT_BINS where the range reaches it. */
int64_t rt_bin_at_zero(const rt_bins *bins);
/* The value below which the part p of all lies, linear within a bin. */
double rt_bins_quantile(const rt_bins *bins, double p);

#endif
