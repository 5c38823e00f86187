/* Schedules that hold their value or let it fall, with PyTorch's definitions. p: part of the run behind the warm-up that is
 * over.
 *   linear      value + (to − value)·p                       LinearLR
 *   cosine      to + (value − to)·(1 + cos πp)/2             CosineAnnealingLR (Loshchilov and Hutter 2017)
 *   step        value·gamma^⌊step/every⌋                     StepLR
 *   multistep   value·gamma^(how many of `at` are past)      MultiStepLR
 * Steps of the last two count from the begin of the run, warm-up or not. */
#include "optim/optim.h"

typedef struct decay_options {
  rt_schedule_options base;
  double to, gamma;
  rt_span every;
  rt_spans at;
} decay_options;

#define FIELD(name) offsetof(decay_options, name)
#define TO \
  { "to", RT_OPT_FLOAT, FIELD(to), "0", 0, 0, NULL, "value that the end comes near to" }
#define GAMMA \
  { "gamma", RT_OPT_FLOAT, FIELD(gamma), "0.1", 0, 0, NULL, "what the value is multiplied by" }

static const rt_option constant_options[] = {RT_SCHEDULE_OPTIONS, {0}};
static const rt_option to_options[] = {RT_SCHEDULE_OPTIONS, TO, {0}};
static const rt_option step_options[] = {
    RT_SCHEDULE_OPTIONS,
    GAMMA,
    {"every", RT_OPT_SPAN, FIELD(every), "30%", 0, 0, NULL, "steps, or percent of all, between falls"},
    {0},
};
static const rt_option multistep_options[] = {
    RT_SCHEDULE_OPTIONS,
    GAMMA,
    {"at", RT_OPT_SPANS, FIELD(at), "50%,75%", 0, 0, NULL, "steps, or percent of all, where the value falls"},
    {0},
};

static double constant(const void *options, rt_moment at) { return ((const decay_options *)options)->base.value; }

static double linear(const void *options, rt_moment at) {
  const decay_options *o = options;
  return o->base.value + (o->to - o->base.value) * rt_moment_part(at);
}

static double cosine(const void *options, rt_moment at) {
  const decay_options *o = options;
  return o->to + (o->base.value - o->to) * (1 + cos(M_PI * rt_moment_part(at))) / 2;
}

/* A place that 7.5 % of 1000 steps gives in floating point is the 75th step. */
static double place(rt_span span, rt_moment at) {
  double steps = rt_span_steps(span, at.total), whole = nearbyint(steps);
  return fabs(steps - whole) < 1e-6 ? whole : steps;
}

static double step(const void *options, rt_moment at) {
  const decay_options *o = options;
  double every = place(o->every, at);
  return o->base.value * pow(o->gamma, every > 0 ? floor(at.step / every) : 0);
}

static double multistep(const void *options, rt_moment at) {
  const decay_options *o = options;
  int past = 0;
  for (int i = 0; i < o->at.n; i++) past += at.step >= place(o->at.v[i], at);
  return o->base.value * pow(o->gamma, past);
}

#define SCHEDULE(name_, options_, size, text) \
  const rt_optim_row rt_optim_row_##name_ = { \
      .name = #name_, .summary = text, .options = options_, .options_size = size, .value = name_}

SCHEDULE(constant, constant_options, sizeof(rt_schedule_options), "the value, always");
SCHEDULE(linear, to_options, sizeof(decay_options), "from value to `to` in a straight line");
SCHEDULE(cosine, to_options, sizeof(decay_options), "from value to `to` along half a cosine");
SCHEDULE(step, step_options, sizeof(decay_options), "multiplied by gamma at regular intervals");
SCHEDULE(multistep, multistep_options, sizeof(decay_options), "multiplied by gamma at given places");
