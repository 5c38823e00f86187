#include "base/alloc.h"
#include "optim/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEDULE(name) extern const rt_optim_row rt_optim_row_##name;
#include "optim/optim.def"
#undef SCHEDULE

static const rt_optim_row *const rows[] = {
#define SCHEDULE(name) &rt_optim_row_##name,
#include "optim/optim.def"
#undef SCHEDULE
};

struct rt_schedule {
  const rt_optim_row *row;
  rt_schedule_options *options; /* the row's, which begin with these */
  rt_arena arena;
};

int rt_schedule_count(void) { return (int)(sizeof rows / sizeof *rows); }

const rt_optim_row *rt_optim_at(int i) { return i >= 0 && i < rt_schedule_count() ? rows[i] : NULL; }

const char *rt_schedule_name(int i) { return rt_optim_at(i) ? rows[i]->name : NULL; }

static rt_status find(const char *name, const rt_optim_row **out) {
  rt_nearest nearest = {.word = name};
  for (int i = 0; i < rt_schedule_count(); i++) {
    *out = rows[i];
    if (strcmp(rows[i]->name, name) == 0) return RT_OK;
    rt_nearest_offer(&nearest, rows[i]->name);
  }
  return rt_nearest_fail(&nearest, "schedule");
}

static rt_status parse(rt_schedule *s, const char *text) {
  char name[32], constant[64];
  text += strspn(text, " \t\n");
  size_t n = strcspn(text, " \t\n");
  if (n == 0) return rt_fail(RT_E_ARGUMENT, "a schedule is a number, or a name with options: \"cosine warmup=5%%\"");
  if (n >= sizeof name) return rt_fail(RT_E_UNKNOWN, "there is no schedule %.*s…", (int)sizeof name - 1, text);
  memcpy(name, text, n);
  name[n] = 0;
  char *end;
  strtod(name, &end);
  const char *options = text + n;
  if (!*end) { /* a number */
    if (options[strspn(options, " \t\n")])
      return rt_fail(RT_E_ARGUMENT, "schedule %s: a number stands alone; constant value=%s takes options", text, name);
    snprintf(constant, sizeof constant, "value=%s", name);
    snprintf(name, sizeof name, "constant");
    options = constant;
  }
  rt_status status = find(name, &s->row);
  if (status != RT_OK) return status;
  s->options = rt_arena_alloc(&s->arena, s->row->options_size);
  if (!s->options) return RT_E_MEMORY;
  status = rt_options_parse(s->row->options, s->options, options, &s->arena, name);
  if (status == RT_OK && !isfinite(s->options->value))
    status = rt_fail(RT_E_ARGUMENT, "%s: value=%g isn't finite", name, s->options->value);
  return status;
}

rt_status rt_schedule_new(const char *text, rt_schedule **out) {
  *out = NULL;
  rt_schedule *s = rt_alloc(sizeof *s);
  if (!s) return RT_E_MEMORY;
  rt_status status = parse(s, text ? text : "");
  if (status == RT_OK)
    *out = s;
  else
    rt_schedule_free(s);
  return status;
}

void rt_schedule_free(rt_schedule *s) {
  if (!s) return;
  rt_arena_release(&s->arena);
  rt_free(s);
}

double rt_schedule_value(const rt_schedule *s, int64_t step, int64_t total_steps) {
  const rt_schedule_options *o = s->options;
  rt_moment at = {.total = (double)(total_steps > 0 ? total_steps : 1)};
  at.warmup = fmin(nearbyint(rt_span_steps(o->warmup, at.total)), at.total);
  at.step = fmin(fmax((double)step, 0), at.total - 1);
  if (at.step >= at.warmup) return s->row->value(o, at);
  double part = at.step / at.warmup;
  at.step = at.warmup;
  return o->from + (s->row->value(o, at) - o->from) * part;
}
