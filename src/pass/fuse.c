/* Fuse  act(layer(x) + residual)  into one node, where layer is a convolution or batch norm of either form.
 * The fused node stands where the last of them stood, so that the residual has been computed. */
#include "pass/pass.h"

typedef struct chain {
  const rt_node *layer, *add, *relu; /* add and relu may be NULL, not both */
  const rt_value *residual;
} chain;

static int residual_input(const rt_op *op) { return op == RT_OP(conv2d) ? 3 : 5; }

static bool is_layer(const rt_node *node) {
  return node->op == RT_OP(conv2d) || node->op == RT_OP(batch_norm) || node->op == RT_OP(batch_norm_train);
}

static int activation_of(const rt_node *layer) {
  return layer->op == RT_OP(conv2d) ? ((const rt_conv2d_attr *)layer->attr)->activation
                                    : ((const rt_batch_norm_attr *)layer->attr)->activation;
}

/* The layer that made this value, if nothing else reads the value and an activation can follow. */
static const rt_node *open_layer(const rt_pass *pass, const rt_value *v) {
  const rt_node *n = v->node;
  if (!n || v->index != 0 || pass->uses[v->id] != 1 || !is_layer(n) || activation_of(n) != RT_ACTIVATION_NONE)
    return NULL;
  return rt_in_scope(pass->scope, n) ? n : NULL;
}

static bool takes_residual(const rt_node *layer) {
  int i = residual_input(layer->op);
  return layer->n_in <= i || !layer->in[i];
}

static bool match_add(const rt_pass *pass, const rt_node *add, chain *c) {
  if (add->op != RT_OP(add) || !rt_same_shape(&add->in[0]->type, &add->in[1]->type)) return false;
  for (int i = 0; i < 2; i++) {
    const rt_node *layer = open_layer(pass, add->in[i]);
    if (!layer || !takes_residual(layer)) continue;
    *c = (chain){.layer = layer, .add = add, .residual = add->in[1 - i]};
    return true;
  }
  return false;
}

/* The chain that ends at this node. */
static bool match(const rt_pass *pass, const rt_node *node, chain *c) {
  if (node->op != RT_OP(relu)) return match_add(pass, node, c);
  const rt_value *x = node->in[0];
  if (x->node && pass->uses[x->id] == 1 && match_add(pass, x->node, c)) {
    c->relu = node;
    return true;
  }
  *c = (chain){.layer = open_layer(pass, x), .relu = node};
  return c->layer != NULL;
}

static bool visit(rt_pass *pass, const rt_node *node) {
  rt_rewrite *rw = &pass->rw;
  chain c;
  if (!match(pass, node, &c)) return false;
  rt_value *in[6] = {0};
  int slot = residual_input(c.layer->op);
  for (int i = 0; i < c.layer->n_in; i++) in[i] = rt_rewrite_value(rw, c.layer->in[i]);
  if (c.residual) in[slot] = rt_rewrite_value(rw, c.residual);
  rt_conv2d_attr conv;
  rt_batch_norm_attr norm;
  int activation = c.relu ? RT_ACTIVATION_RELU : RT_ACTIVATION_NONE;
  void *attr;
  if (c.layer->op == RT_OP(conv2d)) {
    conv = *(const rt_conv2d_attr *)c.layer->attr;
    conv.activation = activation;
    attr = &conv;
  } else {
    norm = *(const rt_batch_norm_attr *)c.layer->attr;
    norm.activation = activation;
    attr = &norm;
  }
  rt_value *y = rt_graph_add(rw->to, c.layer->op, c.layer->name, in, slot + 1, attr);
  if (!y) return true;
  for (int i = 1; i < c.layer->n_out; i++) rt_rewrite_set(rw, c.layer->out[i], rt_output(y, i));
  rt_rewrite_set(rw, node->out[0], y);
  return true;
}

/* The parts were copied too, and an add in the middle of a chain was fused by itself: all dead, so prune. Statistics
 * are assigned from the fused node, since assigns come last. */
rt_status rt_pass_fuse(rt_graph **graph, const char *scope) {
  rt_status s = rt_pass_run(graph, scope, visit, NULL);
  return s == RT_OK ? rt_pass_prune(graph) : s;
}
