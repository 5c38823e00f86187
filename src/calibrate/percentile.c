/* percentile: (100 − percent)/2 % of all values lie below the range and as many above it; all of them at one end where no
 * value lies beyond 0 at the other. */
#include "calibrate/bins.h"

typedef struct percentile_options {
  double percent;
} percentile_options;

static const rt_option options[] = {{"percent", RT_OPT_FLOAT, offsetof(percentile_options, percent), "99.999", 50, 100,
                                     NULL, "of the values that lie within the range"},
                                    {0}};

static rt_range range(const void *state, const void *o, const rt_seen *seen, rt_levels levels) {
  (void)levels;
  double out = 1 - ((const percentile_options *)o)->percent / 100;
  if (seen->all.low < 0 && seen->all.high > 0) out /= 2;
  return (rt_range){fmin(fmax(rt_bins_quantile(state, out), seen->all.low), 0),
                    fmax(fmin(rt_bins_quantile(state, 1 - out), seen->all.high), 0)};
}

const rt_observer_row rt_observer_row_percentile = {"percentile",
                                                    "all but the outermost values",
                                                    .options = options,
                                                    .options_size = sizeof(percentile_options),
                                                    .state_size = sizeof(rt_bins),
                                                    .see = rt_bins_see,
                                                    .range = range};
