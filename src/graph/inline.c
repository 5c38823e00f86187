#include "graph/graph.h"

typedef struct inlining {
  rt_graph *to;
  const rt_graph *from;
  const char *prefix;
  rt_value **map; /* by value id of `from` */
} inlining;

static const char *prefixed(const inlining *k, const char *name) {
  const char *text = rt_arena_text(&k->to->arena, "%s%s", k->prefix, name);
  return text ? text : rt_graph_failed(k->to, RT_E_MEMORY);
}

/* The input of the same name, made where there is none: its symbols are those of the same text. */
static rt_value *input(const inlining *k, const rt_value *v) {
  rt_dim dim[RT_MAX_RANK];
  for (int i = 0; i < v->type.rank; i++) {
    rt_dim d = v->type.dim[i];
    dim[i] = d < 0 ? rt_graph_symbol(k->to, k->from->symbol[-d - 1]) : d;
  }
  rt_value *now = rt_input(k->to, v->name, v->type.dtype, v->type.rank, dim);
  if (!now || !v->data || now->data) return now;
  now->data = rt_arena_copy(&k->to->arena, v->data, (size_t)rt_type_bytes(&v->type));
  return now->data ? now : rt_graph_failed(k->to, RT_E_MEMORY);
}

static rt_value *variable(const inlining *k, const rt_value *v) {
  if (k->to->store == k->from->store) return rt_graph_variable(k->to, v->var);
  const char *name = prefixed(k, v->name);
  rt_var *var;
  rt_status s = name ? rt_store_borrow(k->to->store, name, v->var, &var) : RT_E_MEMORY;
  return s == RT_OK ? rt_graph_variable(k->to, var) : rt_graph_failed(k->to, s);
}

static rt_value *value(const inlining *k, const rt_value *v) {
  if (!v) return NULL;
  rt_value **now = &k->map[v->id];
  if (*now) return *now;
  if (v->kind == RT_VALUE_INPUT) *now = input(k, v);
  if (v->kind == RT_VALUE_VARIABLE) *now = variable(k, v);
  if (v->kind == RT_VALUE_CONSTANT) *now = rt_graph_constant(k->to, v->name, &v->type, v->data);
  return *now;
}

static void copy_node(const inlining *k, const rt_node *node) {
  const char *name = prefixed(k, node->name);
  rt_value **in = rt_arena_alloc(&k->to->arena, (size_t)node->n_in * sizeof *in);
  if (!in) rt_graph_failed(k->to, RT_E_MEMORY);
  if (!in || !name) return;
  for (int i = 0; i < node->n_in; i++) in[i] = value(k, node->in[i]);
  rt_value *first = rt_graph_add(k->to, node->op, name, in, node->n_in, node->attr);
  for (int i = 0; first && i < node->n_out; i++) k->map[node->out[i]->id] = first->node->out[i];
}

rt_status rt_graph_inline(rt_graph *to, const rt_graph *from, const char *prefix, rt_value **map) {
  inlining k = {to, from, prefix, map};
  rt_status s = rt_graph_status(from);
  for (int i = 0; i < from->n_nodes && s == RT_OK; i++) {
    const rt_node *node = from->node[i];
    if (node->op->effect && to->store != from->store) continue;
    copy_node(&k, node);
    s = rt_graph_status(to);
  }
  for (int i = 0; i < from->n_outputs && s == RT_OK; i++) { /* may be no node's */
    value(&k, from->output[i].value);
    s = rt_graph_status(to);
  }
  for (int i = 0; i < from->n_aliases && s == RT_OK; i++) {
    const char *name = prefixed(&k, from->alias[i].name);
    if (name) rt_graph_alias(to, name, map[from->alias[i].value->id]);
    s = rt_graph_status(to);
  }
  return s;
}

rt_value **rt_graph_new_map(rt_graph *to, const rt_graph *from) {
  rt_value **map = rt_arena_alloc(&to->arena, ((size_t)from->n_values + 1) * sizeof *map);
  return map ? map : rt_graph_failed(to, RT_E_MEMORY);
}
