#include "pass/pass.h"

#include "base/alloc.h"

static int *count_uses(const rt_graph *g) {
  int *uses = rt_alloc_array((size_t)g->n_values + 1, sizeof *uses);
  if (!uses) return NULL;
  for (int i = 0; i < g->n_nodes; i++)
    for (int j = 0; j < g->node[i]->n_in; j++)
      if (g->node[i]->in[j]) uses[g->node[i]->in[j]->id]++;
  for (int i = 0; i < g->n_outputs; i++) uses[g->output[i].value->id]++;
  return uses;
}

bool rt_in_scope(const char *scope, const rt_node *node) {
  return !scope || strncmp(node->name, scope, strlen(scope)) == 0;
}

static void walk(rt_pass *pass, const rt_graph *g, rt_visit *visit, bool effects) {
  for (int i = 0; i < g->n_nodes; i++) {
    const rt_node *node = g->node[i];
    if (node->op->effect != effects) continue;
    if (!rt_in_scope(pass->scope, node) || !visit(pass, node)) rt_rewrite_node(&pass->rw, node);
  }
}

rt_status rt_pass_run(rt_graph **graph, const char *scope, rt_visit *visit, void *state) {
  rt_pass pass = {.scope = scope, .state = state};
  rt_status s = rt_rewrite_begin(&pass.rw, *graph);
  if (s != RT_OK) return s;
  pass.uses = count_uses(*graph);
  if (!pass.uses) rt_graph_failed(pass.rw.to, RT_E_MEMORY);
  if (pass.uses) {
    walk(&pass, *graph, visit, false);
    walk(&pass, *graph, visit, true);
  }
  rt_free(pass.uses);
  rt_graph *made;
  s = rt_rewrite_end(&pass.rw, &made);
  if (s != RT_OK) return s;
  rt_graph_free(*graph);
  *graph = made;
  return RT_OK;
}
