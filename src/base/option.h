/* An option is described once, in a table: parsing, range checks, printing and help are all read off it.
 * Text form: "stride=2 padding=1,0 approximate=tanh" (spaces between options, commas inside a list). */
#ifndef RT_BASE_OPTION_H
#define RT_BASE_OPTION_H

#include "base/arena.h"
#include "base/status.h"
#include "base/strbuf.h"

#include <math.h>
#include <stdint.h>

enum { RT_MAX_INTS = 16 };

typedef struct rt_ints {
  int n;
  int64_t v[RT_MAX_INTS];
} rt_ints;

/* A part of a run: so many steps, or so many percent of them. */
typedef struct rt_span {
  double number;
  bool percent;
} rt_span;

typedef struct rt_spans {
  int n;
  rt_span v[RT_MAX_INTS];
} rt_spans;

static inline double rt_span_steps(rt_span span, double total) {
  return span.percent ? total * span.number / 100 : span.number;
}

typedef enum rt_option_type {
  RT_OPT_INT,    /* int64_t */
  RT_OPT_PAIR,   /* int64_t[2]; one number given means both */
  RT_OPT_INTS,   /* rt_ints */
  RT_OPT_FLOAT,  /* double */
  RT_OPT_BOOL,   /* bool */
  RT_OPT_CHOICE, /* int: index into `choices`, "a|b|c" */
  RT_OPT_TEXT,   /* const char *, in the arena */
  RT_OPT_SPAN,   /* rt_span: "500" or "5%"; not negative */
  RT_OPT_SPANS,  /* rt_spans */
} rt_option_type;

typedef struct rt_option {
  const char *name; /* NULL ends a table */
  rt_option_type type;
  size_t offset;        /* of the field in the options' struct */
  const char *fallback; /* default, in text form; NULL: must be given */
  double min, max;      /* inclusive, for numbers; both 0 means unbounded */
  const char *choices;
  const char *help;
} rt_option;

/* Fill `options` (a zeroed struct) with defaults and then with what `text` says (NULL: defaults only).
 * An unknown name, a wrong type or an impossible value is an error that begins with `what`. */
rt_status rt_options_parse(const rt_option *table, void *options, const char *text, rt_arena *arena, const char *what);
/* Set one option; used where options come one by one (the command line). */
rt_status rt_option_set(const rt_option *table, void *options, const char *name, const char *value, rt_arena *arena,
                        const char *what);
/* Those that differ from their defaults, in text form. */
void rt_options_print(const rt_option *table, const void *options, rt_strbuf *out);
/* The value of one option, in the text form that rt_option_set takes. */
void rt_option_print(const rt_option *option, const void *options, rt_strbuf *out);
/* Set those that pairs name, in order; of one named twice the last counts. */
rt_status rt_options_apply(const rt_option *table, void *options, const rt_pair *pairs, int n, rt_arena *arena,
                           const char *what);
/* What people are told of an option; it is no list. */
rt_setting rt_option_setting(const rt_option *option);
/* Name, default and help, a line each; freed with rt_free. */
rt_status rt_options_help(const rt_option *table, char **out);
const rt_option *rt_option_find(const rt_option *table, const char *name, size_t length);

/* The candidate most like `word` by edit distance, or NULL when none is near: for "did you mean". */
typedef struct rt_nearest {
  const char *word, *best;
  int distance;
  char offered[240]; /* the candidates, with commas; an ellipsis for those that don't fit */
} rt_nearest;
void rt_nearest_offer(rt_nearest *nearest, const char *candidate);
/* A table has no such row: RT_E_UNKNOWN, "there is no WHAT word", and the nearest or all there are. */
rt_status rt_nearest_fail(const rt_nearest *nearest, const char *what);
const char *rt_nearest_hint(const rt_nearest *nearest, char *buffer, size_t size); /* "" or " (did you mean x?)" */

#endif
