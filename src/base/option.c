#include "base/option.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD = 512 };

static void list(rt_nearest *nearest, const char *candidate) {
  enum { ELLIPSIS = 6 };
  size_t used = strlen(nearest->offered), left = sizeof nearest->offered - used;
  if (used > 2 && strcmp(nearest->offered + used - 3, "…") == 0) return;
  bool fits = used + strlen(candidate) + 3 + ELLIPSIS <= sizeof nearest->offered;
  snprintf(nearest->offered + used, left, "%s%s", used ? ", " : "", fits ? candidate : "…");
}

void rt_nearest_offer(rt_nearest *nearest, const char *candidate) {
  enum { MOST = 48 };
  list(nearest, candidate);
  size_t n = strlen(nearest->word), m = strlen(candidate);
  if (n > MOST || m > MOST) return;
  int row[MOST + 1];
  for (size_t j = 0; j <= m; j++) row[j] = (int)j;
  for (size_t i = 1; i <= n; i++) {
    int diagonal = row[0];
    row[0] = (int)i;
    for (size_t j = 1; j <= m; j++) {
      int d = diagonal + (nearest->word[i - 1] != candidate[j - 1]);
      diagonal = row[j];
      int least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
      row[j] = d < least ? d : least;
    }
  }
  if (row[m] * 2 <= (int)(n > m ? n : m) && (!nearest->best || row[m] < nearest->distance)) {
    nearest->best = candidate;
    nearest->distance = row[m];
  }
}

const char *rt_nearest_name(const char *word, const char *const *names, int n) {
  rt_nearest nearest = {.word = word};
  for (int i = 0; i < n; i++) rt_nearest_offer(&nearest, names[i]);
  return nearest.best;
}

const char *rt_nearest_hint(const rt_nearest *nearest, char *buffer, size_t size) {
  buffer[0] = 0;
  if (nearest->best) snprintf(buffer, size, " (did you mean %s?)", nearest->best);
  return buffer;
}

rt_status rt_nearest_fail(const rt_nearest *nearest, const char *what) {
  if (nearest->best)
    return rt_fail(RT_E_UNKNOWN, "there is no %s %s (did you mean %s?)", what, nearest->word, nearest->best);
  return rt_fail(RT_E_UNKNOWN, "there is no %s %s; there are %s", what, nearest->word, nearest->offered);
}

const rt_option *rt_option_find(const rt_option *table, const char *name, size_t length) {
  for (const rt_option *o = table; o && o->name; o++)
    if (strlen(o->name) == length && memcmp(o->name, name, length) == 0) return o;
  return NULL;
}

static rt_status unknown(const rt_option *table, const char *name, const char *what) {
  char hint[64];
  rt_nearest nearest = {.word = name};
  rt_strbuf known = {0};
  for (const rt_option *o = table; o && o->name; o++) {
    rt_nearest_offer(&nearest, o->name);
    rt_strbuf_add(&known, "%s%s", known.length ? ", " : "", o->name);
  }
  rt_status s = rt_fail(RT_E_ARGUMENT, "%s: unknown option %s%s; it takes %s", what, name,
                        rt_nearest_hint(&nearest, hint, sizeof hint), known.length ? known.text : "no options");
  rt_strbuf_release(&known);
  return s;
}

static bool in_range(const rt_option *o, double v) {
  return (o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max);
}

static rt_status out_of_range(const rt_option *o, const char *value, const char *what) {
  if (o->max >= 1e18) return rt_fail(RT_E_ARGUMENT, "%s: %s=%s must be at least %g", what, o->name, value, o->min);
  return rt_fail(RT_E_ARGUMENT, "%s: %s=%s is outside %g to %g", what, o->name, value, o->min, o->max);
}

static rt_status parse_int(const rt_option *o, const char **text, int64_t *out, const char *value, const char *what) {
  char *end;
  errno = 0;
  long long v = strtoll(*text, &end, 10);
  if (end == *text || errno || (*end && *end != ','))
    return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: expected a whole number%s", what, o->name, value,
                   o->type == RT_OPT_INT ? "" : " or a list of them, as in 1,2");
  if (!in_range(o, (double)v)) return out_of_range(o, value, what);
  *out = v;
  *text = end;
  return RT_OK;
}

static rt_status parse_ints(const rt_option *o, const char *value, rt_ints *out, const char *what) {
  *out = (rt_ints){0};
  const char *p = value;
  while (*p) {
    if (out->n == RT_MAX_INTS)
      return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: more than %d numbers", what, o->name, value, RT_MAX_INTS);
    rt_status s = parse_int(o, &p, &out->v[out->n++], value, what);
    if (s != RT_OK) return s;
    if (*p == ',') p++;
  }
  return RT_OK;
}

static rt_status parse_float(const rt_option *o, const char *value, double *out, const char *what) {
  char *end;
  double v = strtod(value, &end);
  if (end == value || *end || isnan(v))
    return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: expected a number", what, o->name, value);
  if (!in_range(o, v)) return out_of_range(o, value, what);
  *out = v;
  return RT_OK;
}

static rt_status parse_choice(const rt_option *o, const char *value, int *out, const char *what) {
  int index = 0;
  size_t n = strlen(value);
  for (const char *c = o->choices; c; index++) {
    size_t m = strcspn(c, "|");
    if (m == n && memcmp(c, value, n) == 0) {
      *out = index;
      return RT_OK;
    }
    c = c[m] ? c + m + 1 : NULL;
  }
  return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: expected one of %s", what, o->name, value, o->choices);
}

static rt_status parse_span(const rt_option *o, const char **text, rt_span *out, const char *value, const char *what) {
  char *end;
  out->number = strtod(*text, &end);
  out->percent = *end == '%';
  bool whole = end != *text && isfinite(out->number) && out->number >= 0;
  end += out->percent;
  if (!whole || (*end && *end != ','))
    return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: expected steps, as in 500, or a part of all, as in 5%%%s", what, o->name,
                   value, o->type == RT_OPT_SPAN ? "" : ", or a list of them");
  if (out->percent && out->number > 100)
    return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: more than 100%%", what, o->name, value);
  *text = end;
  return RT_OK;
}

static rt_status parse_spans(const rt_option *o, const char *value, rt_spans *out, const char *what) {
  *out = (rt_spans){0};
  for (const char *p = value; *p; p += *p == ',') {
    if (out->n == RT_MAX_INTS)
      return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: more than %d of them", what, o->name, value, RT_MAX_INTS);
    rt_status s = parse_span(o, &p, &out->v[out->n++], value, what);
    if (s != RT_OK) return s;
  }
  return RT_OK;
}

static rt_status assign(const rt_option *o, void *options, const char *value, rt_arena *arena, const char *what) {
  void *field = (char *)options + o->offset;
  const char *p = value;
  rt_ints list;
  rt_status s = RT_OK;
  switch (o->type) {
  case RT_OPT_INT:
    s = parse_int(o, &p, field, value, what);
    if (s == RT_OK && *p) s = rt_fail(RT_E_ARGUMENT, "%s: %s=%s: expected one number", what, o->name, value);
    return s;
  case RT_OPT_PAIR:
    s = parse_ints(o, value, &list, what);
    if (s != RT_OK) return s;
    if (list.n != 1 && list.n != 2)
      return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: expected one or two numbers", what, o->name, value);
    ((int64_t *)field)[0] = list.v[0];
    ((int64_t *)field)[1] = list.v[list.n - 1];
    return RT_OK;
  case RT_OPT_INTS: return parse_ints(o, value, field, what);
  case RT_OPT_FLOAT: return parse_float(o, value, field, what);
  case RT_OPT_BOOL:
    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
      return rt_fail(RT_E_ARGUMENT, "%s: %s=%s: expected true or false", what, o->name, value);
    *(bool *)field = value[0] == 't';
    return RT_OK;
  case RT_OPT_CHOICE: return parse_choice(o, value, field, what);
  case RT_OPT_TEXT:
    *(const char **)field = rt_arena_text(arena, "%s", value);
    return *(const char **)field ? RT_OK : RT_E_MEMORY;
  case RT_OPT_SPAN:
    s = parse_span(o, &p, field, value, what);
    if (s == RT_OK && *p) s = rt_fail(RT_E_ARGUMENT, "%s: %s=%s: expected one of them", what, o->name, value);
    return s;
  case RT_OPT_SPANS: return parse_spans(o, value, field, what);
  }
  return rt_fail(RT_E_INTERNAL, "%s: option %s has no type", what, o->name);
}

rt_status rt_option_set(const rt_option *table, void *options, const char *name, const char *value, rt_arena *arena,
                        const char *what) {
  const rt_option *o = rt_option_find(table, name, strlen(name));
  return o ? assign(o, options, value, arena, what) : unknown(table, name, what);
}

rt_status rt_options_parse(const rt_option *table, void *options, const char *text, rt_arena *arena, const char *what) {
  uint64_t given = 0;
  char word[WORD];
  for (const rt_option *o = table; o && o->name; o++) {
    if (!o->fallback) continue;
    rt_status s = assign(o, options, o->fallback, arena, what);
    if (s != RT_OK) return s;
    given |= 1ull << (o - table);
  }
  for (const char *p = text ? text : ""; *p;) {
    while (isspace((unsigned char)*p)) p++;
    size_t n = strcspn(p, " \t\n");
    if (!n) break;
    if (n >= sizeof word) return rt_fail(RT_E_ARGUMENT, "%s: an option longer than %d bytes", what, WORD);
    memcpy(word, p, n);
    word[n] = 0;
    p += n;
    char *equals = strchr(word, '=');
    if (equals) *equals = 0;
    rt_status s = rt_option_set(table, options, word, equals ? equals + 1 : "true", arena, what);
    if (s != RT_OK) return s;
    given |= 1ull << (rt_option_find(table, word, strlen(word)) - table);
  }
  for (const rt_option *o = table; o && o->name; o++)
    if (!(given >> (o - table) & 1)) return rt_fail(RT_E_ARGUMENT, "%s: option %s must be given", what, o->name);
  return RT_OK;
}

static void print_value(const rt_option *o, const void *field, char *out, size_t size) {
  const int64_t *pair = field;
  const rt_ints *list = field;
  const rt_span *span = field;
  const rt_spans *spans = field;
  const char *c = o->choices;
  size_t n = 0;
  out[0] = 0;
  switch (o->type) {
  case RT_OPT_INT: snprintf(out, size, "%" PRId64, *pair); break;
  case RT_OPT_PAIR:
    if (pair[0] == pair[1])
      snprintf(out, size, "%" PRId64, pair[0]);
    else
      snprintf(out, size, "%" PRId64 ",%" PRId64, pair[0], pair[1]);
    break;
  case RT_OPT_INTS:
    for (int i = 0; i < list->n && n < size; i++)
      n += (size_t)snprintf(out + n, size - n, "%s%" PRId64, i ? "," : "", list->v[i]);
    break;
  case RT_OPT_FLOAT: snprintf(out, size, "%.9g", *(const double *)field); break;
  case RT_OPT_BOOL: snprintf(out, size, "%s", *(const bool *)field ? "true" : "false"); break;
  case RT_OPT_CHOICE:
    for (int i = *(const int *)field; i > 0; i--) c += strcspn(c, "|") + 1;
    snprintf(out, size, "%.*s", (int)strcspn(c, "|"), c);
    break;
  case RT_OPT_SPAN: snprintf(out, size, "%.9g%s", span->number, span->percent ? "%" : ""); break;
  case RT_OPT_SPANS:
    for (int i = 0; i < spans->n && n < size; i++)
      n += (size_t)snprintf(out + n, size - n, "%s%.9g%s", i ? "," : "", spans->v[i].number,
                            spans->v[i].percent ? "%" : "");
    break;
  case RT_OPT_TEXT: snprintf(out, size, "%s", *(const char *const *)field); break;
  }
}

void rt_options_print(const rt_option *table, const void *options, rt_strbuf *out) {
  char text[WORD];
  for (const rt_option *o = table; o && o->name; o++) {
    print_value(o, (const char *)options + o->offset, text, sizeof text);
    if (!o->fallback || strcmp(text, o->fallback) != 0)
      rt_strbuf_add(out, "%s%s=%s", out->length ? " " : "", o->name, text);
  }
}

void rt_option_print(const rt_option *o, const void *options, rt_strbuf *out) {
  const void *field = (const char *)options + o->offset;
  char text[WORD];
  if (o->type != RT_OPT_TEXT) print_value(o, field, text, sizeof text);
  rt_strbuf_add(out, "%s", o->type == RT_OPT_TEXT ? *(const char *const *)field : text);
}

rt_status rt_options_help(const rt_option *table, char **out) {
  rt_strbuf text = {0};
  *out = NULL;
  rt_strbuf_add(&text, "%s", "");
  for (const rt_option *o = table; o->name; o++) {
    char left[80];
    snprintf(left, sizeof left, "%s=%s", o->name, o->fallback ? o->fallback : "…");
    rt_strbuf_add(&text, "  %-22s %s%s%s%s\n", left, o->help, o->choices ? " (" : "", o->choices ? o->choices : "",
                  o->choices ? ")" : "");
  }
  if (text.failed) {
    rt_strbuf_release(&text);
    return RT_E_MEMORY;
  }
  *out = text.text;
  return RT_OK;
}

rt_status rt_options_apply(const rt_option *table, void *options, const rt_pair *pairs, int n, rt_arena *arena,
                           const char *what) {
  rt_status s = RT_OK;
  for (int i = 0; i < n && s == RT_OK; i++) s = rt_option_set(table, options, pairs[i].key, pairs[i].text, arena, what);
  return s;
}

rt_setting rt_option_setting(const rt_option *o) {
  bool number = o->type == RT_OPT_INT || o->type == RT_OPT_FLOAT;
  return (rt_setting){.name = o->name,
                      .fallback = o->fallback,
                      .help = o->help,
                      .argument = o->choices               ? o->choices
                                  : o->type == RT_OPT_BOOL ? "true|false"
                                  : number                 ? "N"
                                                           : "TEXT"};
}
