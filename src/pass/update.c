/* The optimizers: one node updates every parameter of a group. Its inputs are the scalars and then, per parameter, it, its
 * gradient and its states. */
#include "pass/train.h"

typedef struct recipe {
  const rt_op *op;
  const void *attr;
  const char *state[2];
  int states;
} recipe;

/* Of what isn't Muon's the weights, norms and biases, or both. */
static void update_group(rt_training *t, const recipe *r, rt_value *const *scalars, int n_scalars, bool weights,
                         bool biases) {
  rt_graph *g = t->graph;
  int per = 2 + r->states, n = 0;
  rt_value **in = rt_arena_alloc(&g->arena, (size_t)(n_scalars + per * t->n) * sizeof *in);
  rt_trained **member = rt_arena_alloc(&g->arena, (size_t)t->n * sizeof *member);
  if (!in || !member) {
    rt_graph_failed(g, RT_E_MEMORY);
    return;
  }
  for (int i = 0; i < t->n; i++) {
    rt_trained *p = &t->parameter[i];
    if (p->by_matrix || !(p->is_bias ? biases : weights)) continue;
    rt_value **slot = in + n_scalars + per * n;
    slot[0] = p->parameter;
    slot[1] = p->gradient;
    for (int j = 0; j < r->states; j++) slot[2 + j] = rt_train_state(g, p->parameter, r->state[j]);
    member[n++] = p;
  }
  if (!n) return;
  memcpy(in, scalars, (size_t)n_scalars * sizeof *in);
  rt_value *out = rt_graph_add(g, r->op, "optimizer", in, n_scalars + per * n, r->attr);
  for (int i = 0; i < n; i++) {
    member[i]->now = rt_output(out, i * (per - 1));
    rt_train_assign(g, member[i]->parameter, member[i]->now);
    for (int j = 0; j < r->states; j++)
      rt_train_assign(g, in[n_scalars + i * per + 2 + j], rt_output(out, i * (per - 1) + 1 + j));
  }
}

/* The first scalar is the learning rate. A bias's decay a step stays lr·weight_decay, whatever its rate. */
static void update_groups(rt_training *t, const recipe *r, rt_value **scalars, int n, int weight_decay) {
  rt_graph *g = t->graph;
  const rt_train_options *o = t->options;
  rt_value *decay = scalars[weight_decay];
  bool apart = o->decay || o->bias_lr != 1;
  update_group(t, r, scalars, n, true, !apart);
  if (!apart) return;
  if (o->bias_lr != 1) {
    rt_value *factor = rt_scalar_input(g, "bias_lr", o->bias_lr);
    scalars[0] = rt_mul(g, scalars[0], factor);
    decay = rt_div(g, decay, factor);
  }
  scalars[weight_decay] = o->decay ? rt_scalar(g, 0) : decay;
  update_group(t, r, scalars, n, false, true);
}

static void update_sgd(rt_training *t, rt_value *lr) {
  const rt_train_options *o = t->options;
  rt_optimizer_attr attr = {.nesterov = o->nesterov};
  recipe r = {RT_OP(sgd), &attr, {"momentum", NULL}, 1};
  rt_value *scalars[] = {lr, rt_scalar_input(t->graph, "momentum", o->momentum),
                         rt_scalar_input(t->graph, "weight_decay", o->weight_decay), t->scale};
  update_groups(t, &r, scalars, 4, 2);
}

static void update_adamw(rt_training *t, rt_value *lr) {
  rt_graph *g = t->graph;
  const rt_train_options *o = t->options;
  recipe r = {RT_OP(adamw), NULL, {"exp_avg", "exp_avg_sq"}, 2};
  rt_value *before = rt_train_count(g, "optimizer.step"), *step = rt_add(g, before, t->applied); /* from 1 */
  rt_train_assign(g, before, step);
  rt_value *scalars[] = {lr,
                         rt_scalar_input(g, "beta1", o->beta1),
                         rt_scalar_input(g, "beta2", o->beta2),
                         rt_scalar_input(g, "eps", o->eps),
                         rt_scalar_input(g, "weight_decay", o->weight_decay),
                         step,
                         t->scale};
  update_groups(t, &r, scalars, 7, 4);
}

typedef void update(rt_training *t, rt_value *lr);

/* Hidden matrices are Muon's: of rank 2 and more, but for the first and the last layer. */
static void update_muon(rt_training *t, rt_value *lr) {
  static update *const rest[] = {update_sgd, update_adamw}; /* the choices of the option "rest" */
  int first = -1, last = -1;
  for (int i = 0; i < t->n; i++) {
    if (t->parameter[i].is_bias) continue;
    if (first < 0) first = i;
    last = i;
  }
  for (int i = first + !t->options->muon_first; i < last; i++) t->parameter[i].by_matrix = !t->parameter[i].is_bias;
  rt_update_muon(t, lr);
  rest[t->options->rest](t, rt_mul(t->graph, lr, rt_scalar_input(t->graph, "rest_lr", t->options->rest_lr)));
}

void rt_update_parameters(rt_training *t) {
  static update *const optimizer[] = {update_sgd, update_adamw, update_muon}; /* of the option "optimizer" */
  optimizer[t->options->optimizer](t, rt_scalar_input(t->graph, "lr", NAN));
}
