/* The table of schedules: numbers as pure functions of the step. */
#ifndef RT_OPTIM_OPTIM_H
#define RT_OPTIM_OPTIM_H

#include "base/option.h"

#include "retort.h"

/* Every row's options begin with these. */
typedef struct rt_schedule_options {
  double value;
  rt_span warmup;
  double from;
} rt_schedule_options;

#define RT_SCHEDULE_OPTIONS \
  {"value", RT_OPT_FLOAT, offsetof(rt_schedule_options, value), "1", 0, 0, NULL, "highest or first value"}, \
      {"warmup", RT_OPT_SPAN, offsetof(rt_schedule_options, warmup),          "0", 0, \
       0,        NULL,        "steps, or percent of all, of a linear warm-up"}, \
  { \
    "from", RT_OPT_FLOAT, offsetof(rt_schedule_options, from), "0", 0, 0, NULL, "value that the warm-up begins with" \
  }

/* A moment of a run, in steps. */
typedef struct rt_moment {
  double step, total, warmup;
} rt_moment;

typedef struct rt_optim_row {
  const char *name;
  const char *summary;
  const rt_option *options;
  size_t options_size;
  double (*value)(const void *options, rt_moment at); /* from the end of the warm-up on */
} rt_optim_row;

const rt_optim_row *rt_optim_at(int i); /* NULL past the end */

/* How much of what follows the warm-up is over: 0 to 1. */
static inline double rt_moment_part(rt_moment at) {
  return at.total > at.warmup ? (at.step - at.warmup) / (at.total - at.warmup) : 0;
}

#endif
