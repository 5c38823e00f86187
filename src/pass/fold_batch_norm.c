/* Fold batch norm in evaluation form into the convolution or linear layer before it:
 *   r = weight / sqrt(running_var + eps)     W' = W·r     b' = (b − running_mean)·r + bias
 * r, W' and b' depend on variables only, so a plan computes them once, in its prologue.
 * And the training form under the same names: what a layer and its norm make together is the layer's there, too. */
#include "pass/pass.h"

static bool foldable(const rt_pass *pass, const rt_value *x) {
  if (!x->node || pass->uses[x->id] != 1) return false;
  if (x->node->op == RT_OP(linear)) return true;
  const rt_conv2d_attr *attr = x->node->attr;
  return x->node->op == RT_OP(conv2d) && attr->activation == RT_ACTIVATION_NONE &&
         (x->node->n_in < 4 || !x->node->in[3]);
}

/* r as a factor of the weight: [O] against [O, …]. */
static rt_value *per_output(rt_graph *g, const char *name, rt_value *r, int rank) {
  rt_reshape_attr attr = {.shape = {.n = rank, .v = {-1, 1, 1, 1}}};
  return rt_emit(g, RT_OP(reshape), name, &attr, 1, r);
}

static bool visit(rt_pass *pass, const rt_node *bn) {
  if (bn->op != RT_OP(batch_norm) || !foldable(pass, bn->in[0])) return false;
  rt_rewrite *rw = &pass->rw;
  const rt_node *layer = bn->in[0]->node;
  const rt_batch_norm_attr *norm = bn->attr;
  bool residual = bn->n_in > 5 && bn->in[5];
  if (layer->op == RT_OP(linear) && (residual || norm->activation)) return false;
  rt_graph *g = rw->to;
  rt_value *weight = rt_rewrite_value(rw, layer->in[1]), *mean = rt_rewrite_value(rw, bn->in[3]);
  rt_value *bias = layer->n_in > 2 && layer->in[2] ? rt_rewrite_value(rw, layer->in[2]) : NULL;
  rt_value *deviation =
      rt_emit(g, RT_OP(add), bn->name, NULL, 2, rt_rewrite_value(rw, bn->in[4]), rt_scalar(g, norm->eps));
  rt_unary_attr plain = {0};
  deviation = rt_emit(g, RT_OP(sqrt), bn->name, &plain, 1, deviation);
  rt_value *r = rt_emit(g, RT_OP(div), bn->name, NULL, 2, rt_rewrite_value(rw, bn->in[1]), deviation);
  rt_value *folded =
      rt_emit(g, RT_OP(mul), bn->name, NULL, 2, weight, per_output(g, bn->name, r, layer->in[1]->type.rank));
  rt_value *shift =
      bias ? rt_emit(g, RT_OP(sub), bn->name, NULL, 2, bias, mean) : rt_emit(g, RT_OP(neg), bn->name, &plain, 1, mean);
  shift = rt_emit(g, RT_OP(mul), bn->name, NULL, 2, shift, r);
  shift = rt_emit(g, RT_OP(add), bn->name, NULL, 2, shift, rt_rewrite_value(rw, bn->in[2]));
  rt_value *in[4] = {rt_rewrite_value(rw, layer->in[0]), folded, shift,
                     residual ? rt_rewrite_value(rw, bn->in[5]) : NULL};
  rt_value *y;
  if (layer->op == RT_OP(conv2d)) {
    rt_conv2d_attr attr = *(const rt_conv2d_attr *)layer->attr;
    attr.activation = norm->activation;
    y = rt_graph_add(g, RT_OP(conv2d), layer->name, in, 4, &attr);
  } else {
    y = rt_graph_add(g, RT_OP(linear), layer->name, in, 3, layer->attr);
  }
  rt_rewrite_set(rw, bn->out[0], y);
  return true;
}

/* The layers whose batch norm was folded are dead now. */
rt_status rt_pass_fold_batch_norm(rt_graph **graph, const char *scope) {
  rt_status s = rt_pass_run(graph, scope, visit, NULL);
  return s == RT_OK ? rt_pass_prune(graph) : s;
}

static bool visit_unfolded(rt_pass *pass, const rt_node *node) {
  if (node->op == RT_OP(dropout)) rt_rewrite_set(&pass->rw, node->out[0], rt_rewrite_value(&pass->rw, node->in[0]));
  if (node->op == RT_OP(dropout) || node->op->effect) return true;
  if (node->op != RT_OP(batch_norm_train) || !foldable(pass, node->in[0])) return false;
  rt_node *norm = rt_rewrite_node(&pass->rw, node), *layer = norm ? norm->in[0]->node : NULL;
  if (!layer) return true;
  const char *name = layer->name;
  layer->name = norm->name;
  norm->name = name;
  return true;
}

rt_status rt_pass_unfolded(rt_graph **graph) { return rt_pass_run(graph, NULL, visit_unfolded, NULL); }
