/* What all observers share: text to row and options, extremes, scales. */
#include "base/alloc.h"
#include "base/thread.h"
#include "calibrate/calibrate.h"

#include <inttypes.h>
#include <string.h>

#define OBSERVER(name) extern const rt_observer_row rt_observer_row_##name;
#include "calibrate/observer.def"
#undef OBSERVER

static const rt_observer_row *const rows[] = {
#define OBSERVER(name) &rt_observer_row_##name,
#include "calibrate/observer.def"
#undef OBSERVER
};

struct rt_observer {
  const rt_observer_row *row;
  void *options, *state;
  rt_seen seen;
  rt_arena arena;
};

enum { KINDS = sizeof rows / sizeof *rows };

const rt_observer_row *rt_observer_at(int i) { return i >= 0 && i < KINDS ? rows[i] : NULL; }

/* ---- from text ---- */

static rt_status find(const char *name, const rt_observer_row **out) {
  rt_nearest nearest = {.word = name};
  for (int i = 0; i < KINDS; i++) {
    *out = rows[i];
    if (strcmp(rows[i]->name, name) == 0) return RT_OK;
    rt_nearest_offer(&nearest, rows[i]->name);
  }
  return rt_nearest_fail(&nearest, "observer");
}

static rt_status parse(rt_observer *o, const char *text) {
  size_t n = strcspn(text, ":");
  const char *name = rt_arena_text(&o->arena, "%.*s", (int)n, text);
  char *options = rt_arena_text(&o->arena, "%s", text[n] ? text + n + 1 : "");
  if (!name || !options) return RT_E_MEMORY;
  for (char *c = options; *c; c++)
    if (*c == ',') *c = ' ';
  rt_status s = find(name, &o->row);
  if (s != RT_OK) return s;
  o->options = rt_arena_alloc(&o->arena, o->row->options_size + 1);
  o->state = rt_alloc(o->row->state_size + 1);
  if (!o->options || !o->state) return RT_E_MEMORY;
  return rt_options_parse(o->row->options, o->options, options, &o->arena, name);
}

rt_status rt_observer_new(const char *text, rt_observer **out) {
  rt_observer *o = rt_alloc(sizeof *o);
  *out = NULL;
  if (!o) return RT_E_MEMORY;
  rt_status s = parse(o, text);
  if (s == RT_OK)
    *out = o;
  else
    rt_observer_free(o);
  return s;
}

void rt_observer_free(rt_observer *o) {
  if (!o) return;
  rt_free(o->state);
  rt_arena_release(&o->arena);
  rt_free(o);
}

/* ---- extremes ---- */

enum { CHUNKS = 16, GRAIN = 1 << 14 };

typedef struct search {
  const float *x;
  int64_t n;
  int chunks;
  rt_range range[CHUNKS];
  int64_t bad[CHUNKS]; /* the first that isn't finite; -1: all are */
} search;

static void search_chunks(void *context, int64_t begin, int64_t end) {
  search *s = context;
  for (int64_t c = begin; c < end; c++) {
    float low = 0, high = 0;
    int64_t bad = -1;
    for (int64_t i = rt_chunk_begin(s->n, s->chunks, (int)c); i < rt_chunk_begin(s->n, s->chunks, (int)c + 1); i++) {
      float v = s->x[i];
      low = v < low ? v : low;
      high = v > high ? v : high;
      if (!(v - v == 0) && bad < 0) bad = i;
    }
    s->range[c] = (rt_range){low, high};
    s->bad[c] = bad;
  }
}

rt_status rt_observer_see(rt_observer *o, const float *x, int64_t n) {
  if (n < 1) return RT_OK;
  search s = {.x = x, .n = n, .chunks = n < (int64_t)CHUNKS * GRAIN ? 1 : CHUNKS};
  rt_parallel_for(s.chunks, 1, search_chunks, &s);
  rt_range r = {0, 0};
  for (int c = 0; c < s.chunks; c++) {
    if (s.bad[c] >= 0)
      return rt_fail(RT_E_RANGE, "value %" PRId64 " of %" PRId64 " is %g, not a finite number", s.bad[c], n,
                     (double)x[s.bad[c]]);
    r.low = fmin(r.low, s.range[c].low);
    r.high = fmax(r.high, s.range[c].high);
  }
  o->seen.batch = r;
  o->seen.all = (rt_range){fmin(o->seen.all.low, r.low), fmax(o->seen.all.high, r.high)};
  o->seen.values += n;
  o->seen.batches++;
  return o->row->see ? o->row->see(o->state, o->options, &o->seen, x, n) : RT_OK;
}

rt_status rt_observer_range(const rt_observer *o, rt_levels levels, rt_range *out) {
  if (!o->seen.values) return rt_fail(RT_E_ARGUMENT, "nothing was seen that a range could be chosen from");
  *out = o->row->range(o->state, o->options, &o->seen, levels);
  return RT_OK;
}

rt_range rt_observer_extremes(const rt_observer *o) { return o->seen.all; }

int64_t rt_observer_count(const rt_observer *o) { return o->seen.values; }
