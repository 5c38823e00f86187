#include "base/alloc.h"
#include "graph/graph.h"

rt_status rt_rewrite_begin(rt_rewrite *rw, const rt_graph *from) {
  return rt_rewrite_begin_over(rw, from, from->store);
}

rt_status rt_rewrite_begin_over(rt_rewrite *rw, const rt_graph *from, rt_store *store) {
  *rw = (rt_rewrite){.from = from};
  rt_status s = rt_graph_status(from);
  if (s == RT_OK) s = rt_graph_new(store, &rw->to);
  if (s != RT_OK) return s;
  rw->map = rt_alloc_array((size_t)from->n_values + 1, sizeof *rw->map);
  if (!rw->map) {
    rt_graph_free(rw->to);
    return RT_E_MEMORY;
  }
  for (int i = 0; i < from->n_symbols; i++) rt_graph_symbol(rw->to, from->symbol[i]); /* the same numbers */
  for (int i = 0; i < from->n_values; i++) {
    const rt_value *v = from->value[i];
    if (v->kind != RT_VALUE_INPUT) continue;
    rt_value *now = rt_input(rw->to, v->name, v->type.dtype, v->type.rank, v->type.dim);
    if (now && v->data) now->data = rt_arena_copy(&rw->to->arena, v->data, (size_t)rt_type_bytes(&v->type));
    if (now && v->data && !now->data) rt_graph_failed(rw->to, RT_E_MEMORY);
    rw->map[i] = now;
  }
  return RT_OK;
}

rt_value *rt_rewrite_value(rt_rewrite *rw, const rt_value *old) {
  if (!old) return NULL;
  rt_value **now = &rw->map[old->id];
  if (!*now && old->kind == RT_VALUE_VARIABLE && rw->to->store == rw->from->store)
    *now = rt_graph_variable(rw->to, old->var);
  if (!*now && old->kind == RT_VALUE_CONSTANT) *now = rt_graph_constant(rw->to, old->name, &old->type, old->data);
  return *now;
}

void rt_rewrite_set(rt_rewrite *rw, const rt_value *old, rt_value *now) { rw->map[old->id] = now; }

rt_value **rt_rewrite_inputs(rt_rewrite *rw, const rt_node *node) {
  rt_value **in = rt_arena_alloc(&rw->to->arena, (size_t)node->n_in * sizeof *in);
  if (!in) return rt_graph_failed(rw->to, RT_E_MEMORY);
  for (int i = 0; i < node->n_in; i++) in[i] = rt_rewrite_value(rw, node->in[i]);
  return in;
}

rt_node *rt_rewrite_emit(rt_rewrite *rw, const rt_node *node, rt_value *const *in) {
  rt_value *first = rt_graph_add(rw->to, node->op, node->name, in, node->n_in, node->attr);
  for (int i = 0; first && i < node->n_out; i++) rt_rewrite_set(rw, node->out[i], first->node->out[i]);
  return first ? first->node : NULL;
}

rt_node *rt_rewrite_node(rt_rewrite *rw, const rt_node *node) {
  rt_value **in = rt_rewrite_inputs(rw, node);
  rt_node *now = in ? rt_rewrite_emit(rw, node, in) : NULL;
  for (int i = 0; now && i < node->n_out; i++) now->out[i]->type.layout = node->out[i]->type.layout;
  return now;
}

rt_status rt_rewrite_end(rt_rewrite *rw, rt_graph **out) {
  for (int i = 0; i < rw->from->n_outputs; i++) {
    const rt_named_value *o = &rw->from->output[i];
    rt_mark_output(rw->to, o->name, rt_rewrite_value(rw, o->value));
  }
  for (int i = 0; i < rw->from->n_aliases; i++)
    rt_graph_alias(rw->to, rw->from->alias[i].name, rw->map[rw->from->alias[i].value->id]);
  rt_free(rw->map);
  rw->map = NULL;
  rt_status s = rt_graph_status(rw->to);
  if (s == RT_OK)
    *out = rw->to;
  else
    rt_graph_free(rw->to);
  return s;
}
