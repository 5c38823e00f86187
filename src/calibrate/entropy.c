/* entropy: the threshold T for which the distribution of |x| loses least when it is quantized (Migacz 2017):
 *   P  the bins up to T, what lies beyond it added to the last one
 *   Q  the same bins without what lies beyond, merged into as many levels as |x| has, each spread evenly over its filled bins
 *   T  minimises KL(P‖Q) = Σ p·ln(p/q)
 * The range is [−T, T], cut to what was seen. */
#include "calibrate/bins.h"

static const rt_option options[] = {{0}};

/* Where outliers were added to an empty bin, Q has this count: KL stays finite. */
static const double LEAST = 1e-4;

enum { FOLDED = RT_BINS + 1 };

/* Counts of |x|: bins of the same width from 0 on; zeros are in the first. */
static int fold(const rt_bins *b, double folded[FOLDED]) {
  int n = 0;
  for (int i = 0; i < FOLDED; i++) folded[i] = 0;
  folded[0] = (double)b->zeros;
  for (int i = 0; i < RT_BINS; i++) {
    int64_t at = b->first + i;
    if (!b->count[i]) continue;
    if (at < 0) at = -at - 1;
    folded[at] += (double)b->count[i];
    n = at + 1 > n ? (int)at + 1 : n;
  }
  return n;
}

/* KL(P‖Q) for the first n bins in `levels` levels; `total` is of all bins. */
static double divergence(const double *bin, int n, int levels, double total) {
  double inside = 0, sum = 0;
  for (int i = 0; i < n; i++) inside += bin[i];
  double outliers = total - inside;
  if (!(inside > 0)) return HUGE_VAL;
  for (int k = 0; k < levels; k++) {
    int from = (int)((int64_t)n * k / levels), to = (int)((int64_t)n * (k + 1) / levels), filled = 0;
    double level = 0;
    for (int i = from; i < to; i++) {
      filled += bin[i] > 0;
      level += bin[i];
    }
    for (int i = from; i < to; i++) {
      double p = (bin[i] + (i == n - 1 ? outliers : 0)) / total;
      if (!(p > 0)) continue;
      double q = bin[i] > 0 ? level / filled / inside : LEAST / inside;
      sum += p * log(p / q);
    }
  }
  return sum;
}

static rt_range range(const void *state, const void *o, const rt_seen *seen, rt_levels levels) {
  (void)o;
  const rt_bins *b = state;
  double bin[FOLDED], least = HUGE_VAL, total = (double)b->total;
  if (!(seen->all.high > seen->all.low)) return seen->all;
  int n = fold(b, bin), best = n, steps = levels.high - levels.low;
  bool both = seen->all.low < 0 && seen->all.high > 0;
  int magnitudes = both ? steps / 2 : steps;
  for (int i = magnitudes; i <= n; i++) {
    double d = divergence(bin, i, magnitudes, total);
    if (!(d < least)) continue;
    least = d;
    best = i;
  }
  double t = ldexp(best, b->exponent);
  return (rt_range){fmax(seen->all.low, -t), fmin(seen->all.high, t)};
}

const rt_observer_row rt_observer_row_entropy = {"entropy",          "the range that keeps the distribution",
                                                 .options = options, .state_size = sizeof(rt_bins),
                                                 .see = rt_bins_see, .range = range};
