#include "calibrate/bins.h"

#include "base/thread.h"

#include <string.h>

double rt_bin_edge(const rt_bins *b, int64_t i) { return ldexp((double)(b->first + i), b->exponent); }

int64_t rt_bin_at_zero(const rt_bins *b) { return -b->first; }

/* Number of the bin of width 2^exponent that x is in. */
static int64_t bin_of(double x, int exponent) { return (int64_t)floor(ldexp(x, -exponent)); }

static bool fits(rt_range r, int exponent) { return bin_of(r.high, exponent) - bin_of(r.low, exponent) < RT_BINS; }

static int64_t half(int64_t i, int times) { /* floor(i / 2^times) */
  for (; times > 0; times--) i = i >= 0 ? i / 2 : -((1 - i) / 2);
  return i;
}

/* The narrowest bins that all of the range fits into; where there were counts, theirs or a power of two wider. */
static void widen(rt_bins *b, rt_range r) {
  int exponent = b->exponent;
  if (b->total == b->zeros) {
    int top;
    frexp((r.high - r.low) / (RT_BINS - 1), &top);
    exponent = top - 2;
  }
  while (!fits(r, exponent)) exponent++;
  int64_t first = bin_of(r.low, exponent);
  if (b->total > b->zeros && (exponent != b->exponent || first != b->first)) {
    int64_t *now = b->part[0];
    memset(now, 0, sizeof b->count);
    for (int i = 0; i < RT_BINS; i++)
      if (b->count[i]) now[half(b->first + i, exponent - b->exponent) - first] += b->count[i];
    memcpy(b->count, now, sizeof b->count);
  }
  b->exponent = exponent;
  b->first = first;
}

typedef struct counting {
  rt_bins *bins;
  const float *x;
  int64_t n;
  int chunks;
} counting;

static void count_chunks(void *context, int64_t begin, int64_t end) {
  counting *c = context;
  for (int64_t k = begin; k < end; k++) {
    int64_t *part = c->bins->part[k];
    double per_width = ldexp(1, -c->bins->exponent);
    memset(part, 0, sizeof c->bins->part[k]);
    for (int64_t i = rt_chunk_begin(c->n, c->chunks, (int)k); i < rt_chunk_begin(c->n, c->chunks, (int)k + 1); i++) {
      double at = c->x[i] * per_width;
      int64_t whole = (int64_t)at;
      whole -= at < (double)whole;
      part[c->x[i] == 0 ? RT_BINS : whole - c->bins->first]++;
    }
  }
}

rt_status rt_bins_see(void *bins, const void *options, const rt_seen *seen, const float *x, int64_t n) {
  (void)options;
  rt_bins *b = bins;
  if (seen->all.high == seen->all.low) { /* nothing but zeros so far */
    b->zeros += n;
    b->total += n;
    return RT_OK;
  }
  widen(b, seen->all);
  counting c = {.bins = b, .x = x, .n = n, .chunks = n < (1 << 18) ? 1 : RT_BIN_CHUNKS};
  rt_parallel_for(c.chunks, 1, count_chunks, &c);
  for (int k = 0; k < c.chunks; k++) {
    for (int i = 0; i < RT_BINS; i++) b->count[i] += b->part[k][i];
    b->zeros += b->part[k][RT_BINS];
  }
  b->total += n;
  return RT_OK;
}

double rt_bins_quantile(const rt_bins *b, double p) {
  double below = 0, wanted = p * (double)b->total;
  int64_t zero = rt_bin_at_zero(b);
  int last = 0;
  for (int i = 0; i < RT_BINS; i++) {
    if (i == zero) {
      if (b->zeros && below + (double)b->zeros >= wanted) return 0;
      below += (double)b->zeros;
    }
    if (!b->count[i]) continue;
    double part = (wanted - below) / (double)b->count[i];
    if (part <= 1) return rt_bin_edge(b, i) + fmax(part, 0) * ldexp(1, b->exponent);
    below += (double)b->count[i];
    last = i + 1;
  }
  return rt_bin_edge(b, last);
}
