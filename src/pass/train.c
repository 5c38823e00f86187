/* Append gradients and the optimizer. Momenta are variables "<parameter>.momentum" (sgd) or "<parameter>.exp_avg" and
 * "<parameter>.exp_avg_sq" (adamw), as PyTorch calls them; all hyperparameters are scalar inputs with defaults. */
#include "base/alloc.h"
#include "pass/pass.h"

typedef struct train_options {
  int optimizer;
  double momentum, weight_decay, beta1, beta2, eps;
  bool nesterov, recompute;
} train_options;

#define FIELD(name) offsetof(train_options, name)
static const rt_option options[] = {
    {"optimizer", RT_OPT_CHOICE, FIELD(optimizer), "sgd", 0, 0, "sgd|adamw", "how a step is made of a gradient"},
    {"momentum", RT_OPT_FLOAT, FIELD(momentum), "0.9", 0, 1, NULL, "of sgd"},
    {"nesterov", RT_OPT_BOOL, FIELD(nesterov), "false", 0, 0, NULL, "look ahead along the momentum (sgd)"},
    {"weight_decay", RT_OPT_FLOAT, FIELD(weight_decay), "0", 0, 1e18, NULL,
     "L2 penalty (sgd), decoupled decay (adamw)"},
    {"beta1", RT_OPT_FLOAT, FIELD(beta1), "0.9", 0, 1, NULL, "decay of the mean of gradients (adamw)"},
    {"beta2", RT_OPT_FLOAT, FIELD(beta2), "0.999", 0, 1, NULL, "decay of the mean of squares (adamw)"},
    {"eps", RT_OPT_FLOAT, FIELD(eps), "1e-8", 0, 1, NULL, "keeps adamw's division finite"},
    {"recompute", RT_OPT_BOOL, FIELD(recompute), "true", 0, 0, NULL,
     "make cheap activations again rather than keep them"},
    {0},
};

enum { SGD, ADAMW };

typedef struct trained {
  rt_value **parameter, **gradient;
  int n;
} trained;

/* Parameters that the loss reaches, with their gradients. */
static rt_status find_gradients(rt_graph *g, rt_value *loss, trained *t) {
  for (int i = 0; i < g->n_values; i++) {
    const rt_value *v = g->value[i];
    if (v->kind == RT_VALUE_VARIABLE && v->var->segment == RT_SEGMENT_PARAMETER && v->var->trainable)
      t->parameter[t->n++] = g->value[i];
  }
  rt_status s = rt_gradients(loss, t->parameter, t->n, t->gradient);
  int kept = 0;
  for (int i = 0; i < t->n && s == RT_OK; i++) {
    if (!t->gradient[i]) continue;
    t->parameter[kept] = t->parameter[i];
    t->gradient[kept++] = t->gradient[i];
  }
  t->n = kept;
  if (s == RT_OK && !kept)
    s = rt_fail(RT_E_ARGUMENT, "train: the loss %s depends on no trainable parameter", loss->name);
  return s;
}

static rt_value *state_of(rt_graph *g, const rt_value *parameter, const char *what) {
  const char *name = rt_arena_text(&g->arena, "%s.%s", parameter->name, what);
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_var *var;
  if (!name) return rt_graph_failed(g, RT_E_MEMORY);
  rt_status s = rt_store_declare(g->store, name, &parameter->type, RT_SEGMENT_STATE, &zero, &var);
  return s == RT_OK ? rt_graph_variable(g, var) : rt_graph_failed(g, s);
}

static void assign(rt_graph *g, rt_value *variable, rt_value *value) {
  rt_emit(g, RT_OP(assign), variable ? variable->name : NULL, NULL, 2, variable, value);
}

/* The number of the step, from 1: kept in the store, so that a checkpoint carries it. */
static rt_value *count_steps(rt_graph *g) {
  rt_type scalar = rt_type_of(RT_F32, 0, NULL);
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_var *var;
  rt_status s = rt_store_declare(g->store, "optimizer.step", &scalar, RT_SEGMENT_STATE, &zero, &var);
  if (s != RT_OK) return rt_graph_failed(g, s);
  rt_value *old = rt_graph_variable(g, var);
  rt_value *now = rt_add(g, old, rt_scalar(g, 1));
  assign(g, old, now);
  return now;
}

/* One node updates every parameter: inputs are the scalars and then, per parameter, it, its gradient and its states. */
static rt_status add_optimizer(rt_graph *g, const trained *t, const train_options *o) {
  static const char *const states[][2] = {{"momentum", NULL}, {"exp_avg", "exp_avg_sq"}};
  static const int n_states[] = {1, 2};
  int per = 2 + n_states[o->optimizer], n = 0;
  rt_value **in = rt_arena_alloc(&g->arena, ((size_t)(6 + per * t->n)) * sizeof *in);
  if (!in) return RT_E_MEMORY;
  in[n++] = rt_scalar_input(g, "lr", NAN);
  if (o->optimizer == SGD) {
    in[n++] = rt_scalar_input(g, "momentum", o->momentum);
    in[n++] = rt_scalar_input(g, "weight_decay", o->weight_decay);
  } else {
    in[n++] = rt_scalar_input(g, "beta1", o->beta1);
    in[n++] = rt_scalar_input(g, "beta2", o->beta2);
    in[n++] = rt_scalar_input(g, "eps", o->eps);
    in[n++] = rt_scalar_input(g, "weight_decay", o->weight_decay);
    in[n++] = count_steps(g);
  }
  int first = n;
  for (int i = 0; i < t->n; i++) {
    in[n++] = t->parameter[i];
    in[n++] = t->gradient[i];
    for (int j = 0; j < n_states[o->optimizer]; j++) in[n++] = state_of(g, t->parameter[i], states[o->optimizer][j]);
  }
  rt_optimizer_attr attr = {.nesterov = o->nesterov};
  rt_value *out = rt_graph_add(g, o->optimizer == SGD ? RT_OP(sgd) : RT_OP(adamw), "optimizer", in, n,
                               o->optimizer == SGD ? &attr : NULL);
  for (int i = 0; i < t->n; i++) {
    assign(g, in[first + i * per], rt_output(out, i * (per - 1)));
    for (int j = 0; j < n_states[o->optimizer]; j++)
      assign(g, in[first + i * per + 2 + j], rt_output(out, i * (per - 1) + 1 + j));
  }
  return rt_graph_status(g);
}

static rt_status train(rt_graph *g, rt_value *loss, const train_options *o) {
  trained t = {0};
  t.parameter = rt_alloc_array((size_t)g->n_values + 1, sizeof *t.parameter);
  t.gradient = rt_alloc_array((size_t)g->n_values + 1, sizeof *t.gradient);
  rt_status s = t.parameter && t.gradient ? find_gradients(g, loss, &t) : RT_E_MEMORY;
  if (s == RT_OK) s = add_optimizer(g, &t, o);
  rt_free(t.parameter);
  rt_free(t.gradient);
  return s;
}

/* A copy to work on: on failure the user's graph stays as it was. */
static rt_status copy(const rt_graph *g, rt_graph **out) {
  rt_rewrite rw;
  rt_status s = rt_rewrite_begin(&rw, g);
  if (s != RT_OK) return s;
  for (int i = 0; i < g->n_nodes; i++) rt_rewrite_node(&rw, g->node[i]);
  return rt_rewrite_end(&rw, out);
}

rt_status rt_pass_train(rt_graph **graph, const char *loss_name, const char *text) {
  train_options o = {0};
  rt_arena scratch = {0};
  rt_status s = rt_options_parse(options, &o, text, &scratch, "train");
  rt_arena_release(&scratch);
  rt_graph *made = NULL;
  if (s == RT_OK) s = copy(*graph, &made);
  if (s != RT_OK) return s;
  int forward = made->n_nodes;
  rt_value *loss = rt_find(made, loss_name);
  s = loss ? train(made, loss, &o) : rt_fail(RT_E_UNKNOWN, "train: the graph has no output %s to minimise", loss_name);
  if (s == RT_OK && o.recompute) s = rt_recompute(&made, forward);
  if (s != RT_OK) {
    rt_graph_free(made);
    return s;
  }
  rt_graph_free(*graph);
  *graph = made;
  return RT_OK;
}
