#include "record/record.h"

#include "base/alloc.h"
#include "plan/plan.h"

#include <stdio.h>
#include <string.h>

typedef struct folding {
  const rt_graph *from;
  bool *derived; /* by id of from's value: it depends on variables and constants only */
  rt_rewrite rw;
  int n; /* values that became variables */
  const rt_value **value;
  rt_var **var;
} folding;

static bool is_fixed(const bool *derived, const rt_value *v) {
  return v->kind == RT_VALUE_VARIABLE || v->kind == RT_VALUE_CONSTANT || derived[v->id];
}

static void find_derived(const rt_graph *g, bool *derived) {
  for (int i = 0; i < g->n_nodes; i++) {
    const rt_node *node = g->node[i];
    bool fixed = node->n_in > 0 && !node->op->effect;
    for (int j = 0; j < node->n_in && fixed; j++) fixed = !node->in[j] || is_fixed(derived, node->in[j]);
    for (int j = 0; j < node->n_out; j++) derived[node->out[j]->id] = fixed;
  }
}

/* ---- names ---- */

static bool is_derived(const bool *derived, const rt_node *node) { return !node->n_out || derived[node->out[0]->id]; }

static rt_status name_node(rt_graph *g, const bool *derived, rt_node *node) {
  const char *name = node->name;
  int k = 1;
  for (int i = 0; i < node->id; i++) {
    if (is_derived(derived, g->node[i]) || strcmp(g->node[i]->name, node->name) != 0) continue;
    node->name = rt_arena_text(&g->arena, "%s.%d", name, ++k);
    if (!node->name) return RT_E_MEMORY;
    i = -1;
  }
  return RT_OK;
}

rt_status rt_name_nodes(rt_graph *g) {
  bool *derived = rt_alloc((size_t)g->n_values + 1);
  rt_status s = derived ? RT_OK : RT_E_MEMORY;
  if (derived) find_derived(g, derived);
  for (int i = 0; i < g->n_nodes && s == RT_OK; i++)
    if (!is_derived(derived, g->node[i])) s = name_node(g, derived, g->node[i]);
  rt_free(derived);
  return s;
}

/* "conv1.weight" after the reader, where it is a product or the value is derived; else the variable's own name. With a number where
 * that is another's already. */
static rt_status declare(folding *f, const rt_node *reader, int input, const rt_value *v, rt_value **out) {
  char name[300], role[64];
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_store *store = f->rw.to->store;
  rt_segment segment = v->var ? v->var->segment : RT_SEGMENT_PARAMETER;
  if (v->kind == RT_VALUE_VARIABLE && !(reader->op->int8 && (input == 1 || input == 2)))
    snprintf(name, sizeof name, "%s", v->var->name);
  else
    snprintf(name, sizeof name, "%s.%s", reader->name, rt_op_input_name(reader->op, input, role, sizeof role));
  size_t length = strlen(name);
  for (int k = 2; rt_store_find(store, name); k++) snprintf(name + length, sizeof name - length, ".%d", k);
  rt_status s = rt_store_declare(store, name, &v->type, segment, &zero, &f->var[f->n]);
  if (s != RT_OK) return s;
  *out = rt_graph_variable(f->rw.to, f->var[f->n]);
  rt_rewrite_set(&f->rw, v, *out);
  f->value[f->n++] = v;
  return RT_OK;
}

static rt_status copy_node(folding *f, const rt_node *node) {
  rt_value **in = rt_rewrite_inputs(&f->rw, node); /* NULL where a variable wasn't met before */
  if (!in) return RT_E_MEMORY;
  for (int j = 0; j < node->n_in; j++) {
    const rt_value *v = node->in[j];
    if (!v || in[j]) continue;
    rt_status s = declare(f, node, j, v, &in[j]);
    if (s != RT_OK) return s;
  }
  return rt_rewrite_emit(&f->rw, node, in) ? RT_OK : rt_graph_status(f->rw.to);
}

/* ---- the values ---- */

static rt_status run(rt_plan *plan, const folding *f) {
  rt_status s = rt_plan_run(plan, NULL, 0);
  for (int i = 0; i < f->n && s == RT_OK; i++) {
    char name[32];
    rt_result r;
    snprintf(name, sizeof name, "%d", i);
    s = rt_plan_result(plan, name, &r);
    if (s == RT_OK) s = rt_store_set(f->rw.to->store, f->var[i]->name, r.data, (size_t)rt_type_bytes(&f->var[i]->type));
  }
  return s;
}

/* A graph of nothing but the derived values, run once. */
static rt_status compute(const folding *f) {
  rt_rewrite rw;
  rt_plan *plan = NULL;
  rt_status s = rt_rewrite_begin(&rw, f->from);
  if (s != RT_OK) return s;
  for (int i = 0; i < f->from->n_nodes; i++)
    if (f->from->node[i]->n_out && f->derived[f->from->node[i]->out[0]->id]) rt_rewrite_node(&rw, f->from->node[i]);
  for (int i = 0; i < f->n; i++) {
    char name[32];
    snprintf(name, sizeof name, "%d", i);
    rt_mark_output(rw.to, name, rt_rewrite_value(&rw, f->value[i]));
  }
  rt_free(rw.map);
  s = rt_plan_new(rw.to, NULL, &plan);
  if (s == RT_OK) s = run(plan, f);
  rt_plan_free(plan);
  rt_graph_free(rw.to);
  return s;
}

static rt_status fold(folding *f, bool values, rt_graph **graph) {
  find_derived(f->from, f->derived);
  rt_status s = RT_OK;
  for (int i = 0; i < f->from->n_nodes && s == RT_OK; i++) {
    const rt_node *node = f->from->node[i];
    if (!node->n_out || !f->derived[node->out[0]->id]) s = copy_node(f, node);
  }
  if (s == RT_OK && values) s = rt_store_allocate(f->rw.to->store);
  if (s == RT_OK && values) s = compute(f);
  if (s == RT_OK) s = rt_name_nodes(f->rw.to);
  if (s == RT_OK) return rt_rewrite_end(&f->rw, graph);
  rt_free(f->rw.map);
  rt_graph_free(f->rw.to);
  return s;
}

rt_status rt_folded_new(const rt_graph *from, bool values, rt_store **store, rt_graph **graph) {
  folding f = {.from = from,
               .derived = rt_alloc((size_t)from->n_values + 1),
               .value = rt_alloc_array((size_t)from->n_values + 1, sizeof *f.value),
               .var = rt_alloc_array((size_t)from->n_values + 1, sizeof *f.var)};
  *store = NULL;
  *graph = NULL;
  rt_status s = f.derived && f.value && f.var ? rt_store_new(store) : RT_E_MEMORY;
  if (s == RT_OK) s = rt_rewrite_begin_over(&f.rw, from, *store);
  if (s == RT_OK) s = fold(&f, values, graph);
  if (s != RT_OK) {
    rt_store_free(*store);
    *store = NULL;
  }
  rt_free(f.derived);
  rt_free(f.value);
  rt_free(f.var);
  return s;
}
