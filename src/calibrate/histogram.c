/* histogram: the range with the least squared error after quantization,  Σ (x − s·(q(x) − z))²,  over 2048 bins in which
 * values lie evenly; both ends are moved, in turn, over all bins. */
#include "calibrate/bins.h"

enum { STRIDE = 16, ROUNDS = 4 };

static const rt_option options[] = {{0}};

/* The grid's error from 0 to x, for values that lie evenly with density 1:  ∫₀ˣ (t − nearest level)² dt = k·s³/12 + d³/3,
 * where level k·s, kept within the grid, is nearest and d = x − k·s. */
static double level_of(double x, rt_scale scale, rt_levels levels) {
  return fmin(fmax(nearbyint(x / scale.scale), levels.low - scale.zero_point), levels.high - scale.zero_point);
}

static double error_until(double x, rt_scale scale, rt_levels levels) {
  double s = scale.scale, k = level_of(x, scale, levels), d = x - k * s;
  return k * s * s * s / 12 + d * d * d / 3;
}

static double error_at(double x, rt_scale scale, rt_levels levels) {
  double d = x - level_of(x, scale, levels) * scale.scale;
  return d * d;
}

static double error_of(const rt_bins *b, const rt_seen *seen, rt_range r, rt_levels levels) {
  rt_scale scale = rt_scale_of(r, levels);
  double sum = 0, left = 0;
  bool known = false; /* `left` is of this bin's begin */
  for (int i = 0; i < RT_BINS; i++) {
    if (!b->count[i]) {
      known = false;
      continue;
    }
    /* nothing lies beyond the extremes, so the outermost bins end there */
    double begin = fmax(rt_bin_edge(b, i), seen->all.low), end = fmin(rt_bin_edge(b, i + 1), seen->all.high);
    if (end <= begin) { /* all of it is one value: a clamped activation's highest */
      sum += (double)b->count[i] * error_at(end, scale, levels);
      known = false;
      continue;
    }
    if (!known) left = error_until(begin, scale, levels);
    double right = error_until(end, scale, levels);
    sum += (double)b->count[i] * (right - left) / (end - begin);
    left = right;
    known = true;
  }
  return sum;
}

typedef struct best {
  const rt_bins *bins;
  const rt_seen *seen;
  rt_levels levels;
  rt_range range;
  double error;
} best;

static void try_range(best *b, rt_range r) {
  double e = error_of(b->bins, b->seen, r, b->levels);
  if (e >= b->error) return;
  b->error = e;
  b->range = r;
}

/* Move one end over the bins from..to; the other one stays. */
static void scan(best *b, bool low, int64_t from, int64_t to, int64_t stride) {
  rt_range start = b->range;
  for (int64_t i = from; i <= to; i += stride) {
    double edge = rt_bin_edge(b->bins, i);
    rt_range r = low ? (rt_range){fmin(fmax(edge, b->seen->all.low), 0), start.high}
                     : (rt_range){start.low, fmax(fmin(edge, b->seen->all.high), 0)};
    if (r.high > r.low) try_range(b, r);
  }
}

static void scan_end(best *b, bool low) {
  int64_t zero = rt_bin_at_zero(b->bins), from = low ? 0 : zero + 1, to = low ? zero : RT_BINS;
  scan(b, low, from, to, STRIDE);
  double end = low ? b->range.low : b->range.high;
  int64_t near = (int64_t)floor(ldexp(end, -b->bins->exponent)) - b->bins->first;
  scan(b, low, near - STRIDE > from ? near - STRIDE : from, near + STRIDE < to ? near + STRIDE : to, 1);
}

static rt_range range(const void *state, const void *o, const rt_seen *seen, rt_levels levels) {
  (void)o;
  best b = {.bins = state, .seen = seen, .levels = levels, .range = seen->all};
  if (!(seen->all.high > seen->all.low)) return seen->all;
  b.error = error_of(b.bins, seen, b.range, levels);
  for (int i = 0; i < ROUNDS; i++) {
    double before = b.error;
    if (seen->all.high > 0) scan_end(&b, false);
    if (seen->all.low < 0) scan_end(&b, true);
    if (!(b.error < before)) break;
  }
  return b.range;
}

const rt_observer_row rt_observer_row_histogram = {"histogram",        "the range with the least squared error",
                                                   .options = options, .state_size = sizeof(rt_bins),
                                                   .see = rt_bins_see, .range = range};
