/* Read the moving averages that training keeps (rt_pass_train's ema) in place of what they are averages of. */
#include "pass/pass.h"

#include <stdio.h>

static rt_status find_averages(rt_rewrite *rw, const rt_graph *g, int *found) {
  char name[512];
  for (int i = 0; i < g->n_values; i++) {
    const rt_value *v = g->value[i];
    if (v->kind != RT_VALUE_VARIABLE) continue;
    snprintf(name, sizeof name, "%s.ema", v->var->name);
    rt_var *average = rt_store_find(g->store, name);
    if (!average) continue;
    rt_rewrite_set(rw, v, rt_graph_variable(rw->to, average));
    ++*found;
  }
  return *found ? RT_OK
                : rt_fail(RT_E_ARGUMENT, "ema: the store has no averages (\"<name>.ema\") of this graph's variables");
}

rt_status rt_pass_ema(rt_graph **graph) {
  rt_rewrite rw;
  int found = 0;
  for (int i = 0; i < (*graph)->n_nodes; i++)
    if ((*graph)->node[i]->op->effect)
      return rt_fail(RT_E_ARGUMENT, "ema: the graph assigns %s; averages are for its evaluation form (rt_pass_eval)",
                     (*graph)->node[i]->name);
  rt_status s = rt_rewrite_begin(&rw, *graph);
  if (s != RT_OK) return s;
  s = find_averages(&rw, *graph, &found);
  if (s != RT_OK) rt_graph_failed(rw.to, s);
  for (int i = 0; i < (*graph)->n_nodes; i++) rt_rewrite_node(&rw, (*graph)->node[i]);
  rt_graph *made;
  s = rt_rewrite_end(&rw, &made);
  if (s != RT_OK) return s;
  rt_graph_free(*graph);
  *graph = made;
  return RT_OK;
}
