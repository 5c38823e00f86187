#include "plan/plan.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>

struct rt_plan {
  rt_graph *graph;
  rt_live live;
  rt_plan_options options;
  rt_bound *bounds; /* most recently used first */
};

/* Bindings are cheap to make again: a handful of shapes is kept, and not more derived weights than this. */
enum { MOST_BINDINGS = 16 };
static const int64_t MOST_PERSISTENT = (int64_t)1 << 30;

static rt_status find_live(const rt_graph *g, rt_live *live) {
  live->graph = g;
  live->node = rt_alloc((size_t)g->n_nodes + 1);
  live->value = rt_alloc((size_t)g->n_values + 1);
  if (!live->node || !live->value) return RT_E_MEMORY;
  rt_graph_live(g, live->node);
  for (int i = 0; i < g->n_nodes; i++)
    for (int j = 0; live->node[i] && j < g->node[i]->n_in; j++)
      if (g->node[i]->in[j]) live->value[g->node[i]->in[j]->id] = true;
  for (int i = 0; i < g->n_outputs; i++) live->value[g->output[i].value->id] = true;
  return RT_OK;
}

rt_status rt_plan_new(rt_graph *graph, const rt_plan_options *options, rt_plan **out) {
  *out = NULL;
  rt_status s = rt_graph_status(graph);
  if (s != RT_OK) return s;
  rt_plan *plan = rt_alloc(sizeof *plan);
  if (!plan) return RT_E_MEMORY;
  plan->graph = graph;
  if (options) plan->options = *options;
  s = find_live(graph, &plan->live);
  if (s == RT_OK)
    *out = plan;
  else
    rt_plan_free(plan);
  return s;
}

void rt_plan_free(rt_plan *plan) {
  if (!plan) return;
  for (rt_bound *b = plan->bounds, *next; b; b = next) {
    next = b->next;
    rt_bound_free(b);
  }
  rt_free(plan->live.node);
  rt_free(plan->live.value);
  rt_free(plan);
}

/* ---- memory ---- */

static rt_status too_large(const rt_bound *b, const rt_value *largest, const char *least, int64_t need, int64_t have) {
  char text[RT_TYPE_TEXT];
  const rt_type *type = &b->type[largest->id];
  return rt_fail(RT_E_MEMORY,
                 "these shapes need %s%" PRId64 " bytes and %" PRId64
                 " are available; the largest piece is at %s, %s, %" PRId64 " bytes. Use a smaller batch.",
                 least, need, have, largest->name, rt_type_text(NULL, type, text, sizeof text), rt_type_bytes(type));
}

static int64_t available(const rt_plan *plan) {
  return plan->options.memory_limit > 0 ? plan->options.memory_limit : rt_memory_available();
}

/* Before kernels are chosen: not even one value would fit. */
static rt_status check_values(const rt_plan *plan, const rt_bound *b, const rt_value **largest) {
  const rt_graph *g = plan->graph;
  *largest = NULL;
  for (int i = 0; i < g->n_values; i++) {
    const rt_value *v = g->value[i];
    bool live = v->kind == RT_VALUE_NODE ? b->live->node[v->node->id] : b->live->value[i];
    if (live && (!*largest || rt_type_bytes(&b->type[i]) > rt_type_bytes(&b->type[(*largest)->id]))) *largest = v;
  }
  int64_t most = *largest ? rt_type_bytes(&b->type[(*largest)->id]) : 0, have = available(plan);
  return most > have ? too_large(b, *largest, "at least ", most, have) : RT_OK;
}

/* With a limit all that is used counts; else what is not taken yet must be there. */
static rt_status check_fits(const rt_plan *plan, const rt_bound *b, const rt_value *largest) {
  const rt_store *store = plan->graph->store;
  bool limited = plan->options.memory_limit > 0, stored = store->n && store->var[0]->data;
  int64_t arena = limited ? b->arena_bytes : b->arena_bytes - store->arena_bytes;
  int64_t need = (arena > 0 ? arena : 0) + b->persistent_bytes + (stored && !limited ? 0 : store->bytes);
  int64_t have = available(plan);
  return need > have ? too_large(b, largest, "", need, have) : RT_OK;
}

static rt_status reserve(const rt_plan *plan, rt_bound *b) {
  rt_store *store = plan->graph->store;
  rt_status s = rt_store_allocate(store);
  if (s != RT_OK) return s;
  if (!b->persistent && b->persistent_bytes) {
    b->persistent = rt_alloc_large((size_t)b->persistent_bytes);
    if (!b->persistent) return RT_E_MEMORY;
  }
  if (b->arena_bytes <= store->arena_bytes) return RT_OK;
  rt_free(store->arena_data);
  store->arena_bytes = 0;
  store->arena_data = rt_alloc_large((size_t)b->arena_bytes);
  if (!store->arena_data) return RT_E_MEMORY;
  store->arena_bytes = b->arena_bytes;
  return RT_OK;
}

/* ---- bindings ---- */

static rt_bound *find_bound(rt_plan *plan, const int64_t *symbol) {
  size_t bytes = (size_t)plan->graph->n_symbols * sizeof *symbol;
  for (rt_bound **link = &plan->bounds; *link; link = &(*link)->next) {
    rt_bound *b = *link;
    if (b->threads != rt_threads() || (bytes && memcmp(b->symbol, symbol, bytes) != 0)) continue;
    *link = b->next; /* to the front */
    b->next = plan->bounds;
    plan->bounds = b;
    return b;
  }
  return NULL;
}

static void evict(rt_plan *plan) {
  int n = 0;
  int64_t bytes = 0;
  for (rt_bound **link = &plan->bounds; *link;) {
    rt_bound *b = *link;
    bytes += b->persistent_bytes;
    if (n++ == 0 || (n <= MOST_BINDINGS && bytes <= MOST_PERSISTENT)) {
      link = &b->next;
      continue;
    }
    *link = b->next;
    rt_bound_free(b);
  }
}

static rt_status bind(rt_plan *plan, const rt_feed *feeds, int n, rt_bound **out) {
  enum { FEW = 64 };
  int64_t symbol[FEW] = {0};
  if (plan->graph->n_symbols <= FEW) {
    rt_status s = rt_bind_symbols(&plan->live, feeds, n, symbol);
    if (s != RT_OK) return s;
    *out = find_bound(plan, symbol);
    if (*out) return RT_OK;
  }
  rt_bound *b;
  rt_status s = rt_bind(&plan->live, feeds, n, &b);
  if (s != RT_OK) return s;
  if (plan->graph->n_symbols > FEW) { /* only known now */
    *out = find_bound(plan, b->symbol);
    if (*out) {
      rt_bound_free(b);
      return RT_OK;
    }
  }
  const rt_value *largest;
  s = check_values(plan, b, &largest);
  if (s == RT_OK) s = rt_build_steps(b, plan->options.kernels);
  if (s == RT_OK) s = rt_plan_layout(b);
  if (s == RT_OK) s = check_fits(plan, b, largest);
  if (s != RT_OK) {
    rt_bound_free(b);
    return s;
  }
  b->next = plan->bounds;
  plan->bounds = *out = b;
  evict(plan);
  return RT_OK;
}

rt_status rt_plan_bind(rt_plan *plan, const rt_feed *feeds, int n) {
  rt_bound *b;
  return bind(plan, feeds, n, &b);
}

/* ---- running ---- */

static void *address(const rt_plan *plan, const rt_bound *b, const rt_buffer *buffer, const rt_feed *feeds, int n) {
  switch (buffer->place) {
  case RT_PLACE_ARENA: return plan->graph->store->arena_data + buffer->offset;
  case RT_PLACE_PERSISTENT: return b->persistent + buffer->offset;
  case RT_PLACE_VARIABLE: return buffer->value->var->data;
  case RT_PLACE_CONSTANT: return buffer->value->data;
  case RT_PLACE_FEED:
    for (int i = 0; i < n; i++)
      if (strcmp(feeds[i].name, buffer->value->name) == 0) return (void *)(uintptr_t)feeds[i].data;
    return buffer->value->data; /* its fallback */
  }
  return NULL;
}

static rt_status resolve(const rt_plan *plan, rt_bound *b, const rt_feed *feeds, int n) {
  for (int i = 0; i < b->n_buffers; i++) {
    rt_buffer *buffer = &b->buffers[i];
    buffer->data = address(plan, b, buffer, feeds, n);
    if (!buffer->data && buffer->place == RT_PLACE_FEED && buffer->last >= 0)
      return rt_fail(RT_E_ARGUMENT, "input %s: a shape was fed, but no data", buffer->value->name);
  }
  for (int i = 0; i < b->n_steps; i++) {
    rt_step *step = &b->steps[i];
    for (int j = 0; j < step->n_in; j++)
      if (step->in_buffer[j] >= 0) step->in_view[j].data = b->buffers[step->in_buffer[j]].data;
    for (int j = 0; j < step->n_out; j++)
      step->out_view[j].data = step->out_buffer[j] >= 0 ? b->buffers[step->out_buffer[j]].data : NULL;
  }
  return RT_OK;
}

static rt_status run_step(rt_bound *b, rt_step *step) {
  if (step->kind == RT_STEP_PACK) return step->pack->run(step->pack->state, step->in[0], step->out_view[0].data);
  void *out = step->out_view[0].data;
  if (step->kind == RT_STEP_COPY) {
    memcpy(out, step->in[0]->data, (size_t)b->buffers[step->out_buffer[0]].bytes);
    return RT_OK;
  }
  if (step->kernel) {
    rt_kernel_call call = {step->site, step->in, step->out_view,
                           step->workspace < 0 ? NULL : b->buffers[step->workspace].data};
    return step->kernel->run(&call);
  }
  const rt_node *node = step->node;
  rt_call call = {.op = node->op,
                  .attr = node->attr,
                  .name = node->name,
                  .in = step->in,
                  .out = step->out_view,
                  .n_in = step->n_in,
                  .n_out = step->n_out};
  return node->op->reference(&call);
}

static rt_status run_steps(const rt_plan *plan, rt_bound *b, int begin, int end) {
  rt_status s = RT_OK;
  for (int i = begin; i < end && s == RT_OK; i++) {
    rt_step *step = &b->steps[i];
    double start = plan->options.profile ? rt_now() : 0;
    s = run_step(b, step);
    step->runs++;
    if (plan->options.profile) step->seconds += rt_now() - start;
  }
  return s;
}

static bool prologue_is_stale(rt_bound *b) {
  bool stale = !b->prologue_ran;
  for (int i = 0; i < b->n_watched; i++) {
    stale |= b->seen[i] != b->watched[i]->version;
    b->seen[i] = b->watched[i]->version;
  }
  return stale;
}

static rt_status run_prologue(const rt_plan *plan, rt_bound *b) {
  if (!prologue_is_stale(b)) return RT_OK;
  rt_status s = run_steps(plan, b, 0, b->n_prologue);
  b->prologue_ran = s == RT_OK;
  return s;
}

rt_status rt_plan_run(rt_plan *plan, const rt_feed *feeds, int n) {
  rt_bound *b;
  rt_status s = bind(plan, feeds, n, &b);
  if (s == RT_OK) s = reserve(plan, b);
  if (s == RT_OK) s = resolve(plan, b, feeds, n);
  if (s == RT_OK) s = run_prologue(plan, b);
  if (s == RT_OK) s = run_steps(plan, b, b->n_prologue, b->n_steps);
  for (int i = 0; i < plan->graph->n_nodes; i++)
    if (plan->graph->node[i]->op->effect) plan->graph->node[i]->in[0]->var->version++;
  return s;
}

rt_status rt_plan_result(const rt_plan *plan, const char *output, rt_result *out) {
  const rt_graph *g = plan->graph;
  const rt_bound *b = plan->bounds;
  char hint[96];
  rt_nearest nearest = {.word = output};
  if (!b) return rt_fail(RT_E_ARGUMENT, "result %s: the plan has not run", output);
  for (int i = 0; i < g->n_outputs; i++) {
    if (strcmp(g->output[i].name, output) != 0) {
      rt_nearest_offer(&nearest, g->output[i].name);
      continue;
    }
    int id = g->output[i].value->id;
    const rt_type *t = &b->type[id];
    *out = (rt_result){.dtype = t->dtype, .rank = t->rank, .data = b->buffers[b->buffer[id]].data};
    memcpy(out->dim, t->dim, sizeof out->dim);
    return RT_OK;
  }
  return rt_fail(RT_E_UNKNOWN, "the graph has no output %s%s", output, rt_nearest_hint(&nearest, hint, sizeof hint));
}

/* ---- what a plan says of itself ---- */

rt_memory rt_plan_memory(const rt_plan *plan) {
  rt_memory m = {.store = plan->graph->store->bytes};
  for (const rt_bound *b = plan->bounds; b; b = b->next) {
    m.persistent += b->persistent_bytes;
    if (b->arena_bytes > m.arena) m.arena = b->arena_bytes;
  }
  return m;
}

void rt_plan_reset_profile(rt_plan *plan) {
  for (rt_bound *b = plan->bounds; b; b = b->next)
    for (int i = 0; i < b->n_steps; i++) {
      b->steps[i].runs = 0;
      b->steps[i].seconds = 0;
    }
}

int rt_plan_steps(const rt_plan *plan) { return plan->bounds ? plan->bounds->n_steps : 0; }

static double step_bytes(const rt_bound *b, const rt_step *step) {
  double bytes = 0;
  for (int i = 0; i < step->n_in; i++)
    if (step->in_buffer[i] >= 0) bytes += (double)b->buffers[step->in_buffer[i]].bytes;
  for (int i = 0; i < step->n_out; i++)
    if (step->out_buffer[i] >= 0) bytes += (double)b->buffers[step->out_buffer[i]].bytes;
  return bytes;
}

static double step_flops(const rt_step *step) {
  if (step->kind != RT_STEP_KERNEL) return 0;
  const rt_op *op = step->node->op;
  if (op->flops) return op->flops(step->site->in, step->site->out, step->site->attr);
  return step->n_out ? (double)rt_type_elements(&step->site->out[0]) : 0;
}

rt_status rt_plan_step(const rt_plan *plan, int i, rt_step_info *out) {
  if (i < 0 || i >= rt_plan_steps(plan)) return rt_fail(RT_E_ARGUMENT, "step %d of %d", i, rt_plan_steps(plan));
  const rt_bound *b = plan->bounds;
  const rt_step *step = &b->steps[i];
  static const char *const kinds[] = {NULL, "pack", "copy"};
  *out = (rt_step_info){.name = step->node->name,
                        .op = kinds[step->kind] ? kinds[step->kind] : step->node->op->name,
                        .kernel = step->kind == RT_STEP_KERNEL ? (step->kernel ? step->kernel->name : "reference")
                                                               : kinds[step->kind],
                        .seconds = step->seconds,
                        .runs = step->runs,
                        .flops = step_flops(step),
                        .bytes = step_bytes(b, step),
                        .weights = i < b->n_prologue};
  const rt_value *v = step->kind == RT_STEP_PACK ? step->node->in[step->pack->input] : step->node->out[0];
  const rt_type *t = &b->type[v->id];
  out->dtype = t->dtype;
  out->rank = t->rank;
  memcpy(out->dim, t->dim, sizeof out->dim);
  return RT_OK;
}
