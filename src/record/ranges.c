#include "record/record.h"

#include "base/alloc.h"
#include "pass/pass.h"
#include "plan/plan.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- which values, by which observers ---- */

static bool is_watched(const rt_value *v) {
  return (v->kind == RT_VALUE_INPUT || v->kind == RT_VALUE_NODE) && v->index == 0 && v->type.dtype == RT_F32 &&
         v->type.rank >= 2;
}

static const char *name_of(const rt_value *v) { return v->node ? v->node->name : v->name; }

static const char *observer_of(const char *name, const char *usual, const char *const *overrides, int n) {
  char pattern[256];
  for (int i = 0; i < n; i++) {
    const char *equals = strchr(overrides[i], '=');
    snprintf(pattern, sizeof pattern, "%.*s", (int)(equals - overrides[i]), overrides[i]);
    if (fnmatch(pattern, name, 0) == 0) usual = equals + 1;
  }
  return usual;
}

static rt_status check_overrides(const char *const *overrides, int n) {
  for (int i = 0; i < n; i++)
    if (!strchr(overrides[i], '='))
      return rt_fail(RT_E_ARGUMENT,
                     "quantize: observer for a layer: \"%s\": expected PATTERN=OBSERVER, as in \"layer1.*=minmax\"",
                     overrides[i]);
  return RT_OK;
}

static rt_status watch(rt_ranges *r, const rt_value *v, const char *text) {
  rt_watched *w = &r->value[r->n++];
  *w = (rt_watched){.name = name_of(v), .value = v, .observer_text = text, .channels = v->type.dim[1]};
  w->mean = rt_alloc_array((size_t)(w->channels > 0 ? w->channels : 1), sizeof *w->mean);
  return w->mean ? rt_observer_new(text, &w->observer) : RT_E_MEMORY;
}

rt_status rt_ranges_new(const rt_graph *g, const char *observer, const char *list, rt_arena *arena, rt_ranges *out) {
  const char *const *overrides;
  int n;
  *out = (rt_ranges){.value = rt_alloc_array((size_t)g->n_values + 1, sizeof *out->value)};
  rt_status s = out->value ? rt_split_list(list, arena, &overrides, &n) : RT_E_MEMORY;
  if (s == RT_OK) s = check_overrides(overrides, n);
  for (int i = 0; i < g->n_values && s == RT_OK; i++) {
    const rt_value *v = g->value[i];
    if (is_watched(v)) s = watch(out, v, observer_of(name_of(v), observer, overrides, n));
  }
  if (s != RT_OK) rt_ranges_release(out);
  return s;
}

void rt_ranges_release(rt_ranges *r) {
  for (int i = 0; i < r->n; i++) {
    rt_observer_free(r->value[i].observer);
    rt_free(r->value[i].mean);
  }
  rt_free(r->value);
  *r = (rt_ranges){0};
}

const rt_watched *rt_ranges_find(const rt_ranges *r, const char *name) {
  for (int i = 0; i < r->n; i++)
    if (strcmp(r->value[i].name, name) == 0) return &r->value[i];
  return NULL;
}

/* ---- images through the network ---- */

/* x: N×C×…; the mean of each channel over all images so far. */
static void add_means(rt_watched *w, const float *x, const int64_t *dim, int rank) {
  int64_t pixels = 1, images = dim[0];
  for (int d = 2; d < rank; d++) pixels *= dim[d];
  double part = (double)(images * pixels) / (double)(w->seen + images * pixels);
  for (int64_t c = 0; c < w->channels; c++) {
    double sum = 0;
    for (int64_t n = 0; n < images; n++)
      for (int64_t p = 0; p < pixels; p++) sum += x[(n * w->channels + c) * pixels + p];
    w->mean[c] += part * (sum / (double)(images * pixels) - w->mean[c]);
  }
  w->seen += images * pixels;
}

static rt_status look(rt_watched *w, const float *x, const int64_t *dim, int rank) {
  int64_t n = 1;
  for (int d = 0; d < rank; d++) n *= dim[d];
  rt_status s = rt_observer_see(w->observer, x, n);
  if (s != RT_OK) return rt_fail_in(s, "the output of %s", w->name);
  if (dim[1] == w->channels) add_means(w, x, dim, rank);
  return RT_OK;
}

static rt_status look_at_all(rt_ranges *r, rt_plan *plan, const rt_feed *x) {
  rt_status s = RT_OK;
  for (int i = 0; i < r->n && s == RT_OK; i++) {
    rt_watched *w = &r->value[i];
    rt_result result = {.rank = x->rank, .data = x->data};
    char name[32];
    snprintf(name, sizeof name, "%d", i);
    if (w->value->kind == RT_VALUE_INPUT)
      memcpy(result.dim, x->dim, (size_t)x->rank * sizeof *x->dim);
    else
      s = rt_plan_result(plan, name, &result);
    if (s == RT_OK) s = look(w, result.data, result.dim, result.rank);
  }
  return s;
}

static rt_status observe(rt_ranges *r, rt_plan *plan, rt_loader *loader, int64_t images, int64_t *seen) {
  rt_status s = RT_OK;
  rt_batch b = {0};
  for (*seen = 0; s == RT_OK && *seen < images && !b.last;) {
    s = rt_loader_next(loader, &b);
    if (s != RT_OK) break;
    int64_t n = b.n < images - *seen ? b.n : images - *seen, dim[] = {n, b.channels, b.height, b.width};
    rt_feed x = {.name = "x", .rank = 4, .dim = dim, .data = b.x};
    s = rt_plan_run(plan, &x, 1);
    if (s == RT_OK) s = look_at_all(r, plan, &x);
    *seen += n;
  }
  return s;
}

/* The same graph with every watched value marked, by its number. */
static rt_status mark(const rt_ranges *r, const rt_graph *from, rt_graph **out) {
  rt_rewrite rw;
  rt_status s = rt_rewrite_begin(&rw, from);
  if (s != RT_OK) return s;
  for (int i = 0; i < from->n_nodes; i++) rt_rewrite_node(&rw, from->node[i]);
  for (int i = 0; i < r->n; i++) {
    char name[32];
    snprintf(name, sizeof name, "%d", i);
    if (r->value[i].value->kind == RT_VALUE_NODE) rt_mark_output(rw.to, name, rt_rewrite_value(&rw, r->value[i].value));
  }
  s = rt_rewrite_end(&rw, out);
  return s == RT_OK ? rt_pass_layout(out) : s;
}

rt_status rt_ranges_observe(rt_ranges *r, const rt_graph *graph, rt_loader *loader, int64_t images, int64_t *seen) {
  rt_graph *marked = NULL;
  rt_plan *plan = NULL;
  rt_status s = mark(r, graph, &marked);
  if (s == RT_OK) s = rt_plan_new(marked, NULL, &plan);
  if (s == RT_OK) s = observe(r, plan, loader, images, seen);
  rt_plan_free(plan);
  rt_graph_free(marked);
  return s;
}

rt_status rt_record_calibrate(rt_record *record, const rt_ranges *ranges) {
  rt_levels levels = rt_target_activations(record->target);
  rt_status s = RT_OK;
  for (int i = 0; i < record->n && s == RT_OK; i++) {
    rt_record_node *n = &record->node[i];
    const rt_watched *w = rt_ranges_find(ranges, n->node);
    if (!w) continue;
    s = rt_observer_range(w->observer, levels, &n->range);
    rt_scale grid = rt_scale_of(n->range, levels);
    n->observer = w->observer_text;
    n->scale = (double)(float)grid.scale;
    n->zero_point = grid.zero_point;
  }
  return s;
}
