/* Drop every node that no marked output and no assign needs, and casts to the dtype that is there already. */
#include "base/alloc.h"
#include "pass/pass.h"

static bool visit(rt_pass *pass, const rt_node *node) {
  const bool *live = pass->state;
  if (!live[node->id]) return true;
  rt_value *x = node->op == RT_OP(cast) ? rt_rewrite_value(&pass->rw, node->in[0]) : NULL;
  if (!x || x->type.dtype != node->out[0]->type.dtype) return false;
  rt_rewrite_set(&pass->rw, node->out[0], x);
  return true;
}

rt_status rt_pass_prune(rt_graph **graph) {
  bool *live = rt_alloc((size_t)(*graph)->n_nodes + 1);
  if (!live) return RT_E_MEMORY;
  rt_graph_live(*graph, live);
  rt_status s = rt_pass_run(graph, NULL, visit, live);
  rt_free(live);
  return s;
}
