/* Evaluation form: batch norm uses its running statistics and leaves them alone, dropout is gone. Frozen: the first of it. */
#include "pass/pass.h"

static bool visit(rt_pass *pass, const rt_node *node) {
  rt_rewrite *rw = &pass->rw;
  const bool *dropout_stays = pass->state;
  if (node->op == RT_OP(dropout) && !*dropout_stays) {
    rt_rewrite_set(rw, node->out[0], rt_rewrite_value(rw, node->in[0]));
    return true;
  }
  if (node->op == RT_OP(batch_norm_train)) {
    rt_value *in[6] = {0};
    for (int i = 0; i < node->n_in; i++) in[i] = rt_rewrite_value(rw, node->in[i]);
    rt_rewrite_set(rw, node->out[0], rt_graph_add(rw->to, RT_OP(batch_norm), node->name, in, node->n_in, node->attr));
    return true;
  }
  const rt_node *source = node->op->effect ? node->in[1]->node : NULL;
  /* The new running statistics went with the training form; nothing is left to assign. */
  return source && source->op == RT_OP(batch_norm_train) && !rt_rewrite_value(rw, node->in[1]);
}

rt_status rt_pass_eval(rt_graph **graph, const char *scope) {
  bool dropout_stays = false;
  return rt_pass_run(graph, scope, visit, &dropout_stays);
}

rt_status rt_pass_freeze_statistics(rt_graph **graph, const char *scope) {
  bool dropout_stays = true;
  return rt_pass_run(graph, scope, visit, &dropout_stays);
}
