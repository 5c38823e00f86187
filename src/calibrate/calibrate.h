/* The table of observers: what range of values a tensor is to be quantized over, from seeing it batch by batch.
 *
 * A grid has the whole numbers low to high; a value is s·(q − z). Observers that keep a histogram have it in bins.h. */
#ifndef RT_CALIBRATE_CALIBRATE_H
#define RT_CALIBRATE_CALIBRATE_H

#include "base/option.h"
#include "tensor/grid.h"

#include "retort.h"

typedef struct rt_observer rt_observer;

/* From text: a name of the table and options, "percentile:percent=99.99". */
rt_status rt_observer_new(const char *text, rt_observer **out);
void rt_observer_free(rt_observer *observer);
/* A batch more: n values. RT_E_RANGE where one isn't finite; the sentence says which of them. */
rt_status rt_observer_see(rt_observer *observer, const float *x, int64_t n);
/* The range chosen for a grid. RT_E_ARGUMENT where nothing was seen. */
rt_status rt_observer_range(const rt_observer *observer, rt_levels levels, rt_range *out);
/* What was seen at all. */
rt_range rt_observer_extremes(const rt_observer *observer);
int64_t rt_observer_count(const rt_observer *observer); /* values */

/* ---- rows ---- */

typedef struct rt_seen {
  rt_range batch, all; /* extremes of the newest batch and of everything, widened to hold 0 */
  int64_t values, batches;
} rt_seen;

typedef struct rt_observer_row {
  const char *name, *summary;
  const rt_option *options;
  size_t options_size, state_size; /* state: zeroed at first */
  /* Extremes of the batch are in *seen already; values are finite. NULL: nothing to keep. */
  rt_status (*see)(void *state, const void *options, const rt_seen *seen, const float *x, int64_t n);
  rt_range (*range)(const void *state, const void *options, const rt_seen *seen, rt_levels levels);
} rt_observer_row;

const rt_observer_row *rt_observer_at(int i); /* NULL past the end */

#endif
