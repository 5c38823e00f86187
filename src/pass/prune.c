/* Drop every node that no marked output and no assign needs. */
#include "base/alloc.h"
#include "pass/pass.h"

static bool visit(rt_pass *pass, const rt_node *node) {
  const bool *live = pass->state;
  return !live[node->id];
}

rt_status rt_pass_prune(rt_graph **graph) {
  bool *live = rt_alloc((size_t)(*graph)->n_nodes + 1);
  if (!live) return RT_E_MEMORY;
  rt_graph_live(*graph, live);
  rt_status s = rt_pass_run(graph, NULL, visit, live);
  rt_free(live);
  return s;
}
