/* Where every buffer lies. Two buffers share bytes of the arena when no step needs both. */
#include "base/alloc.h"
#include "plan/plan.h"

#include <stdlib.h>

enum { LINE = 64 };

static bool is_var(const rt_buffer *buffer) { return buffer->place == RT_PLACE_VARIABLE; }

/* ---- lifetimes ---- */

static void lifetimes(rt_bound *b) {
  for (int i = 0; i < b->n_buffers; i++) b->buffers[i].first = b->buffers[i].last = -1;
  for (int i = 0; i < b->n_steps; i++) {
    const rt_step *step = &b->steps[i];
    for (int j = 0; j < step->n_in; j++)
      if (step->in_buffer[j] >= 0) b->buffers[step->in_buffer[j]].last = i;
    for (int j = 0; j < step->n_out; j++) {
      if (step->out_buffer[j] < 0) continue;
      rt_buffer *out = &b->buffers[step->out_buffer[j]];
      if (out->first < 0) out->first = i;
      if (out->last < i) out->last = i;
    }
    if (step->workspace >= 0) b->buffers[step->workspace].first = b->buffers[step->workspace].last = i;
  }
  for (int i = 0; i < b->graph->n_outputs; i++) {
    int id = b->buffer[b->graph->output[i].value->id];
    b->buffers[id].pinned = true;
    b->buffers[id].last = b->n_steps;
  }
  for (int i = 0; i < b->n_buffers; i++) {
    rt_buffer *buffer = &b->buffers[i];
    if (buffer->place == RT_PLACE_ARENA && buffer->first >= 0 && buffer->first < b->n_prologue &&
        buffer->last >= b->n_prologue)
      buffer->place = RT_PLACE_PERSISTENT;
  }
}

/* Every use of buffer `old` becomes one of `now`. */
static void redirect(rt_bound *b, int old, int now) {
  for (int i = 0; i < b->n_steps; i++) {
    rt_step *step = &b->steps[i];
    for (int j = 0; j < step->n_in; j++)
      if (step->in_buffer[j] == old) step->in_buffer[j] = now;
    for (int j = 0; j < step->n_out; j++)
      if (step->out_buffer[j] == old) step->out_buffer[j] = now;
  }
  for (int i = 0; i < b->graph->n_values; i++)
    if (b->buffer[i] == old) b->buffer[i] = now;
  if (b->buffers[now].last < b->buffers[old].last) b->buffers[now].last = b->buffers[old].last;
  b->buffers[old].first = b->buffers[old].last = -1;
}

static int producer(const rt_bound *b, int buffer, int *output) {
  for (int i = 0; i < b->n_steps; i++)
    for (int j = 0; j < b->steps[i].n_out; j++)
      if (b->steps[i].out_buffer[j] == buffer) {
        *output = j;
        return i;
      }
  return -1;
}

/* ---- assigns ---- */

static rt_status copy_step(rt_bound *b, const rt_node *assign, int from, int to) {
  rt_step *step = rt_bound_new_step(b, RT_STEP_COPY, assign, 1, 1);
  if (!step) return RT_E_MEMORY;
  step->in_view[0] = rt_tensor_view(&b->type[assign->in[1]->id], NULL);
  step->in[0] = &step->in_view[0];
  step->in_buffer[0] = from;
  step->out_view[0] = rt_tensor_view(&b->type[assign->in[0]->id], NULL);
  step->out_buffer[0] = to;
  return RT_OK;
}

/* The new value may be written straight into the variable when everybody else has read the old one by then. */
static bool written_in_place(const rt_bound *b, int value, int var) {
  const rt_buffer *buffer = &b->buffers[value];
  int out = 0, p = producer(b, value, &out);
  if (buffer->place != RT_PLACE_ARENA || buffer->pinned || p < b->n_prologue || buffer->bytes != b->buffers[var].bytes)
    return false;
  const rt_step *step = &b->steps[p];
  if (step->kind != RT_STEP_KERNEL) return false;
  int own = step->node->op->inplace ? step->node->op->inplace(step->n_in, out) : -1;
  for (int i = 0; i < b->n_steps; i++)
    for (int j = 0; j < b->steps[i].n_in; j++)
      if (b->steps[i].in_buffer[j] == var && i >= p && !(i == p && j == own)) return false;
  return true;
}

static rt_status place_assigns(rt_bound *b) {
  const rt_graph *g = b->graph;
  for (int i = 0; i < g->n_nodes; i++) { /* reads of variables first: they must see the old values */
    const rt_node *node = g->node[i];
    if (!node->op->effect || !is_var(&b->buffers[b->buffer[node->in[1]->id]])) continue;
    int from = b->buffer[node->in[1]->id], to = b->buffer[node->in[0]->id];
    for (int j = 0; j < b->n_steps; j++)
      if (b->steps[j].kind == RT_STEP_COPY && b->steps[j].out_buffer[0] == from)
        return rt_fail(RT_E_UNSUPPORTED,
                       "assign %s: %s is assigned from another variable in the same step; copy one of them first",
                       node->name, node->in[1]->name);
    rt_status s = copy_step(b, node, from, to);
    if (s != RT_OK) return s;
  }
  for (int i = 0; i < g->n_nodes; i++) {
    const rt_node *node = g->node[i];
    if (!node->op->effect) continue;
    int from = b->buffer[node->in[1]->id], to = b->buffer[node->in[0]->id];
    if (is_var(&b->buffers[from])) continue;
    if (written_in_place(b, from, to)) {
      redirect(b, from, to);
      continue;
    }
    rt_status s = copy_step(b, node, from, to);
    if (s != RT_OK) return s;
  }
  return RT_OK;
}

/* ---- results that take over an input's memory ---- */

static bool may_take_over(const rt_bound *b, const rt_step *step, int index, int in, int out) {
  const rt_buffer *from = &b->buffers[step->in_buffer[in]], *to = &b->buffers[step->out_buffer[out]];
  if (from->place != RT_PLACE_ARENA || to->place != RT_PLACE_ARENA || from->pinned || from->last != index ||
      from->first == index || from->bytes != to->bytes || to->first != index)
    return false;
  for (int j = 0; j < step->n_in; j++)
    if (j != in && step->in_buffer[j] == step->in_buffer[in]) return false;
  const rt_tensor *a = &step->in_view[in], *z = &step->out_view[out];
  return a->dtype == z->dtype && rt_tensors_flat(a, z);
}

static void take_over(rt_bound *b) {
  for (int i = 0; i < b->n_steps; i++) {
    rt_step *step = &b->steps[i];
    if (step->kind != RT_STEP_KERNEL || !step->node->op->inplace) continue;
    for (int out = 0; out < step->n_out; out++) {
      int in = step->node->op->inplace(step->n_in, out);
      if (in < 0 || in >= step->n_in || step->in_buffer[in] < 0 || step->out_buffer[out] < 0) continue;
      if (!may_take_over(b, step, i, in, out)) continue;
      bool pinned = b->buffers[step->out_buffer[out]].pinned;
      int now = step->in_buffer[in];
      redirect(b, step->out_buffer[out], now);
      b->buffers[now].pinned |= pinned;
    }
  }
}

/* ---- offsets ---- */

static int by_size(const void *x, const void *y) {
  const rt_buffer *a = *(rt_buffer *const *)x, *c = *(rt_buffer *const *)y;
  if (a->bytes != c->bytes) return a->bytes < c->bytes ? 1 : -1;
  return a->first != c->first ? (a->first < c->first ? -1 : 1) : (a < c ? -1 : a > c);
}

static int by_offset(const void *x, const void *y) {
  const rt_buffer *a = *(rt_buffer *const *)x, *c = *(rt_buffer *const *)y;
  return a->offset < c->offset ? -1 : a->offset > c->offset ? 1 : (a < c ? -1 : a > c);
}

static int64_t padded(int64_t bytes) { return (bytes + LINE - 1) / LINE * LINE; }

/* Largest first, each at the lowest offset that is free while it lives. */
static rt_status place_arena(rt_bound *b) {
  size_t n = 0;
  rt_buffer **order = rt_alloc_array((size_t)b->n_buffers + 1, sizeof *order);
  rt_buffer **rivals = rt_alloc_array((size_t)b->n_buffers + 1, sizeof *rivals);
  rt_status s = order && rivals ? RT_OK : RT_E_MEMORY;
  for (int i = 0; i < b->n_buffers && s == RT_OK; i++)
    if (b->buffers[i].place == RT_PLACE_ARENA && b->buffers[i].first >= 0) order[n++] = &b->buffers[i];
  if (n) qsort(order, n, sizeof *order, by_size);
  for (size_t i = 0; i < n; i++) {
    rt_buffer *buffer = order[i];
    size_t m = 0;
    for (size_t j = 0; j < i; j++)
      if (order[j]->first <= buffer->last && buffer->first <= order[j]->last) rivals[m++] = order[j];
    if (m) qsort(rivals, m, sizeof *rivals, by_offset);
    int64_t at = 0;
    for (size_t j = 0; j < m && rivals[j]->offset < at + padded(buffer->bytes); j++) {
      int64_t end = rivals[j]->offset + padded(rivals[j]->bytes);
      if (end > at) at = end;
    }
    buffer->offset = at;
    if (at + padded(buffer->bytes) > b->arena_bytes) b->arena_bytes = at + padded(buffer->bytes);
  }
  rt_free(order);
  rt_free(rivals);
  return s;
}

static void place_persistent(rt_bound *b) {
  for (int i = 0; i < b->n_buffers; i++) {
    rt_buffer *buffer = &b->buffers[i];
    if (buffer->place != RT_PLACE_PERSISTENT) continue;
    buffer->offset = b->persistent_bytes;
    b->persistent_bytes += padded(buffer->bytes);
  }
}

rt_status rt_plan_layout(rt_bound *b) {
  lifetimes(b); /* pinned and persistent buffers are known from here on */
  rt_status s = place_assigns(b);
  if (s != RT_OK) return s;
  lifetimes(b);
  take_over(b);
  place_persistent(b);
  return place_arena(b);
}
