/* minmax: all that was seen is in the range. */
#include "calibrate/calibrate.h"

static const rt_option options[] = {{0}};

static rt_range range(const void *state, const void *o, const rt_seen *seen, rt_levels levels) {
  (void)state;
  (void)o;
  (void)levels;
  return seen->all;
}

const rt_observer_row rt_observer_row_minmax = {"minmax", "everything that was seen", .options = options,
                                                .range = range};
