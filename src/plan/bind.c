#include "base/alloc.h"
#include "plan/plan.h"

#include <inttypes.h>
#include <stdio.h>

void *rt_bound_alloc(rt_bound *b, size_t count, size_t size) {
  return rt_arena_alloc(&b->memory, size && count > SIZE_MAX / 2 / size ? SIZE_MAX : count * size);
}

static const rt_feed *find_feed(const rt_feed *feeds, int n, const char *name) {
  for (int i = 0; i < n; i++)
    if (strcmp(feeds[i].name, name) == 0) return &feeds[i];
  return NULL;
}

static rt_status wrong_shape(const rt_graph *g, const rt_value *v, const rt_feed *feed, const char *why) {
  char want[RT_TYPE_TEXT], found[RT_TYPE_TEXT];
  rt_type type = rt_type_of(v->type.dtype, feed->rank, feed->dim);
  return rt_fail(RT_E_SHAPE, "input %s: expected %s, found %s%s", v->name, rt_type_text(g, &v->type, want, sizeof want),
                 rt_type_text(NULL, &type, found, sizeof found), why);
}

static rt_status unify(const rt_graph *g, const rt_value *v, const rt_feed *feed, int64_t *symbol) {
  char why[128];
  if (feed->rank != v->type.rank) {
    char want[RT_TYPE_TEXT];
    return rt_fail(RT_E_SHAPE, "input %s: expected %s, found rank %d", v->name,
                   rt_type_text(g, &v->type, want, sizeof want), feed->rank);
  }
  for (int i = 0; i < feed->rank; i++) {
    rt_dim d = v->type.dim[i];
    if (feed->dim[i] <= 0) return wrong_shape(g, v, feed, "; every dimension must be above 0");
    if (d >= 0 && d != feed->dim[i]) return wrong_shape(g, v, feed, "");
    if (d >= 0) continue;
    int64_t *bound = &symbol[-d - 1];
    if (*bound && *bound != feed->dim[i]) {
      snprintf(why, sizeof why, "; %s is %" PRId64 " elsewhere", g->symbol[-d - 1], *bound);
      return wrong_shape(g, v, feed, why);
    }
    *bound = feed->dim[i];
  }
  return RT_OK;
}

static rt_status check_known(const rt_graph *g, const rt_feed *feeds, int n) {
  for (int i = 0; i < n; i++) {
    bool known = false;
    for (int j = 0; j < g->n_values && !known; j++)
      known = g->value[j]->kind == RT_VALUE_INPUT && strcmp(g->value[j]->name, feeds[i].name) == 0;
    if (known) continue;
    char hint[96];
    rt_nearest nearest = {.word = feeds[i].name};
    for (int j = 0; j < g->n_values; j++)
      if (g->value[j]->kind == RT_VALUE_INPUT) rt_nearest_offer(&nearest, g->value[j]->name);
    return rt_fail(RT_E_UNKNOWN, "the graph has no input %s%s", feeds[i].name,
                   rt_nearest_hint(&nearest, hint, sizeof hint));
  }
  return RT_OK;
}

rt_status rt_bind_symbols(const rt_live *live, const rt_feed *feeds, int n, int64_t *symbol) {
  char text[RT_TYPE_TEXT];
  const rt_graph *g = live->graph;
  rt_status s = check_known(g, feeds, n);
  for (int i = 0; i < g->n_values && s == RT_OK; i++) {
    const rt_value *v = g->value[i];
    if (v->kind != RT_VALUE_INPUT) continue;
    const rt_feed *feed = find_feed(feeds, n, v->name);
    if (feed)
      s = unify(g, v, feed, symbol);
    else if (!v->data && live->value[i])
      s = rt_fail(RT_E_ARGUMENT, "input %s, %s, was not fed", v->name, rt_type_text(g, &v->type, text, sizeof text));
  }
  return s;
}

static rt_status check_addressable(const rt_bound *b, const char *what, const rt_value *v) {
  char text[RT_TYPE_TEXT];
  const rt_type *type = &b->type[v->id];
  if (rt_type_bound(type) && rt_type_bytes(type) >= 0) return RT_OK;
  return rt_fail(RT_E_SHAPE, "%s %s: %s is larger than what can be addressed", what, v->name,
                 rt_type_text(b->graph, type, text, sizeof text));
}

static rt_status infer_node(rt_bound *b, const rt_node *node) {
  const rt_type **in = rt_bound_alloc(b, (size_t)node->n_in, sizeof *in);
  rt_type *out = rt_bound_alloc(b, (size_t)node->n_out, sizeof *out);
  if (!in || !out) return RT_E_MEMORY;
  for (int i = 0; i < node->n_in; i++) in[i] = node->in[i] ? &b->type[node->in[i]->id] : NULL;
  rt_infer c = {.op = node->op,
                .attr = node->attr,
                .name = node->name,
                .in = in,
                .n_in = node->n_in,
                .n_out = node->n_out,
                .out = out};
  rt_status s = node->op->infer(&c);
  for (int i = 0; i < node->n_out && s == RT_OK; i++) {
    out[i].layout = node->out[i]->type.layout;
    b->type[node->out[i]->id] = out[i];
    s = check_addressable(b, node->op->name, node->out[i]);
  }
  return s;
}

static rt_status infer_all(rt_bound *b) {
  const rt_graph *g = b->graph;
  for (int i = 0; i < g->n_values; i++) {
    rt_type t = g->value[i]->type;
    for (int d = 0; d < t.rank; d++)
      if (t.dim[d] < 0 && b->symbol[-t.dim[d] - 1]) t.dim[d] = b->symbol[-t.dim[d] - 1];
    b->type[i] = t; /* of inputs, variables and constants; nodes are inferred */
  }
  rt_status s = RT_OK;
  for (int i = 0; i < g->n_values && s == RT_OK; i++)
    if (g->value[i]->kind == RT_VALUE_INPUT && b->live->value[i]) s = check_addressable(b, "input", g->value[i]);
  for (int i = 0; i < g->n_nodes && s == RT_OK; i++)
    if (b->live->node[i]) s = infer_node(b, g->node[i]);
  return s;
}

rt_status rt_bind(const rt_live *live, const rt_feed *feeds, int n, rt_bound **out) {
  const rt_graph *g = live->graph;
  rt_bound *b = rt_alloc(sizeof *b);
  *out = NULL;
  if (!b) return RT_E_MEMORY;
  b->graph = g;
  b->live = live;
  b->threads = rt_threads();
  b->symbol = rt_bound_alloc(b, (size_t)g->n_symbols + 1, sizeof *b->symbol);
  b->type = rt_bound_alloc(b, (size_t)g->n_values + 1, sizeof *b->type);
  b->buffer = rt_bound_alloc(b, (size_t)g->n_values + 1, sizeof *b->buffer);
  rt_status s = b->symbol && b->type && b->buffer ? rt_bind_symbols(live, feeds, n, b->symbol) : RT_E_MEMORY;
  if (s == RT_OK) s = infer_all(b);
  if (s == RT_OK)
    *out = b;
  else
    rt_bound_free(b);
  return s;
}

void rt_bound_free(rt_bound *b) {
  if (!b) return;
  for (int i = 0; i < b->n_steps; i++)
    if (b->steps[i].site) rt_site_release(b->steps[i].site, b->steps[i].kernel);
  rt_free(b->steps);
  rt_free(b->buffers);
  rt_free(b->persistent);
  rt_arena_release(&b->memory);
  rt_free(b);
}

rt_buffer *rt_bound_new_buffer(rt_bound *b, rt_place place, int64_t bytes, const rt_value *value) {
  if (b->n_buffers == b->buffer_capacity) {
    int capacity = b->buffer_capacity ? 2 * b->buffer_capacity : 256;
    rt_buffer *grown = rt_grow(b->buffers, (size_t)b->n_buffers * sizeof *grown, (size_t)capacity * sizeof *grown);
    if (!grown) return NULL;
    b->buffers = grown;
    b->buffer_capacity = capacity;
  }
  rt_buffer *buffer = &b->buffers[b->n_buffers++];
  *buffer = (rt_buffer){.place = place, .bytes = bytes, .first = -1, .last = -1, .value = value};
  return buffer;
}

rt_step *rt_bound_new_step(rt_bound *b, rt_step_kind kind, const rt_node *node, int n_in, int n_out) {
  if (b->n_steps == b->step_capacity) {
    int capacity = b->step_capacity ? 2 * b->step_capacity : 128;
    rt_step *grown = rt_grow(b->steps, (size_t)b->n_steps * sizeof *grown, (size_t)capacity * sizeof *grown);
    if (!grown) return NULL;
    b->steps = grown;
    b->step_capacity = capacity;
  }
  rt_step step = {.kind = kind, .node = node, .n_in = n_in, .n_out = n_out, .workspace = -1};
  step.in_view = rt_bound_alloc(b, (size_t)n_in, sizeof *step.in_view);
  step.out_view = rt_bound_alloc(b, (size_t)n_out, sizeof *step.out_view);
  step.in = rt_bound_alloc(b, (size_t)n_in, sizeof *step.in);
  step.in_buffer = rt_bound_alloc(b, (size_t)n_in, sizeof *step.in_buffer);
  step.out_buffer = rt_bound_alloc(b, (size_t)n_out, sizeof *step.out_buffer);
  if (!step.in_view || !step.out_view || !step.in || !step.in_buffer || !step.out_buffer) return NULL;
  b->steps[b->n_steps] = step;
  return &b->steps[b->n_steps++];
}
