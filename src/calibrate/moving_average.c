/* moving_average: the first batch's extremes, then  m += rate·(extreme − m)  (Jacob et al. 2018). */
#include "calibrate/calibrate.h"

typedef struct average_options {
  double rate;
} average_options;

static const rt_option options[] = {{"rate", RT_OPT_FLOAT, offsetof(average_options, rate), "0.01", 0, 1, NULL,
                                     "how far each batch moves the average of the extremes"},
                                    {0}};

static rt_status see(void *state, const void *o, const rt_seen *seen, const float *x, int64_t n) {
  (void)x;
  (void)n;
  rt_range *m = state;
  double rate = seen->batches == 1 ? 1 : ((const average_options *)o)->rate;
  m->low += rate * (seen->batch.low - m->low);
  m->high += rate * (seen->batch.high - m->high);
  return RT_OK;
}

static rt_range range(const void *state, const void *o, const rt_seen *seen, rt_levels levels) {
  (void)o;
  (void)seen;
  (void)levels;
  return *(const rt_range *)state;
}

const rt_observer_row rt_observer_row_moving_average = {"moving_average",
                                                        "an average of the batches' extremes",
                                                        .options = options,
                                                        .options_size = sizeof(average_options),
                                                        .state_size = sizeof(rt_range),
                                                        .see = see,
                                                        .range = range};
