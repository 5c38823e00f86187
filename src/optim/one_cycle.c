/* one_cycle (Smith and Topin 2019), as PyTorch's OneCycleLR has it: from value/div up to value, and down to
 * value/(div·final_div) at the last step, each along half a cosine or a straight line. */
#include "optim/optim.h"

typedef struct one_cycle_options {
  rt_schedule_options base;
  double rise, div, final_div;
  int anneal;
} one_cycle_options;

enum { COSINE, LINEAR };

#define FIELD(name) offsetof(one_cycle_options, name)
static const rt_option options[] = {
    RT_SCHEDULE_OPTIONS,
    {"rise", RT_OPT_FLOAT, FIELD(rise), "0.3", 0, 1, NULL, "part of the steps on which the value rises"},
    {"div", RT_OPT_FLOAT, FIELD(div), "25", 1e-9, 1e18, NULL, "the first value is value / div"},
    {"final_div", RT_OPT_FLOAT, FIELD(final_div), "1e4", 1e-9, 1e18, NULL, "the last is value / (div final_div)"},
    {"anneal", RT_OPT_CHOICE, FIELD(anneal), "cosine", 0, 0, "cosine|linear", "shape of both ways"},
    {0},
};

static double between(const one_cycle_options *o, double a, double b, double part) {
  if (part > 1) part = 1;
  return o->anneal == LINEAR ? a + (b - a) * part : b + (a - b) / 2 * (1 + cos(M_PI * part));
}

static double value(const void *opts, rt_moment at) {
  const one_cycle_options *o = opts;
  double step = at.step - at.warmup, total = at.total - at.warmup;
  double top = o->rise * total - 1, last = total - 1; /* steps */
  double peak = o->base.value, first = peak / o->div;
  if (step <= top && top > 0) return between(o, first, peak, step / top);
  return between(o, peak, first / o->final_div, last > top ? (step - top) / (last - top) : 1);
}

const rt_optim_row rt_optim_row_one_cycle = {
    .name = "one_cycle",
    .summary = "up to the value and down to almost nothing",
    .options = options,
    .options_size = sizeof(one_cycle_options),
    .value = value,
};
