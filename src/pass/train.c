/* Append gradients and the optimizer. All hyperparameters are scalar inputs with defaults; state is variables named after
 * their parameter: ".momentum" (sgd, muon), ".exp_avg" and ".exp_avg_sq" (adamw), ".grad" (accumulate), ".ema". */
#include "pass/train.h"
#include "base/alloc.h"

#define FIELD(name) offsetof(rt_train_options, name)
static const rt_option options[] = {
    {"optimizer", RT_OPT_CHOICE, FIELD(optimizer), "sgd", 0, 0, "sgd|adamw|muon", "how a step is made of a gradient"},
    {"momentum", RT_OPT_FLOAT, FIELD(momentum), "0.9", 0, 1, NULL, "of sgd"},
    {"nesterov", RT_OPT_BOOL, FIELD(nesterov), "false", 0, 0, NULL, "look ahead along the momentum (sgd)"},
    {"weight_decay", RT_OPT_FLOAT, FIELD(weight_decay), "0", 0, 1e18, NULL,
     "L2 penalty (sgd), decoupled decay (adamw, muon)"},
    {"decay", RT_OPT_CHOICE, FIELD(decay), "all", 0, 0, "all|weights",
     "what weight_decay is for: everything, or not norms and biases"},
    {"beta1", RT_OPT_FLOAT, FIELD(beta1), "0.9", 0, 1, NULL, "decay of the mean of gradients (adamw)"},
    {"beta2", RT_OPT_FLOAT, FIELD(beta2), "0.999", 0, 1, NULL, "decay of the mean of squares (adamw)"},
    {"eps", RT_OPT_FLOAT, FIELD(eps), "1e-8", 0, 1, NULL, "keeps adamw's division finite"},
    {"muon_momentum", RT_OPT_FLOAT, FIELD(muon_momentum), "0.95", 0, 1, NULL, "of muon"},
    {"muon_steps", RT_OPT_INT, FIELD(muon_steps), "5", 1, 20, NULL, "of the iteration that makes a step orthogonal"},
    {"muon_first", RT_OPT_BOOL, FIELD(muon_first), "false", 0, 0, NULL,
     "the first trained matrix is Muon's, too: for networks that begin with a fixed layer"},
    {"normalize", RT_OPT_BOOL, FIELD(normalize), "false", 0, 0, NULL,
     "muon's weights are brought to norm sqrt(rows) before each step, instead of decaying"},
    {"rest", RT_OPT_CHOICE, FIELD(rest), "sgd", 0, 0, "sgd|adamw",
     "what muon leaves (first and last layer, norms, biases) goes by"},
    {"rest_lr", RT_OPT_FLOAT, FIELD(rest_lr), "1", 0, 1e18, NULL, "learning rate of the rest, as a multiple of lr"},
    {"bias_lr", RT_OPT_FLOAT, FIELD(bias_lr), "1", 0, 1e18, NULL,
     "learning rate of norms and biases, as a multiple; their decay stays"},
    {"clip", RT_OPT_FLOAT, FIELD(clip), "0", 0, 1e18, NULL,
     "norm that all gradients together are scaled down to; 0: off"},
    {"check", RT_OPT_BOOL, FIELD(check), "false", 0, 0, NULL, "no update where loss or gradients aren't finite"},
    {"accumulate", RT_OPT_BOOL, FIELD(accumulate), "false", 0, 0, NULL, "a step is made of several micro-batches"},
    {"ema", RT_OPT_FLOAT, FIELD(ema), "0", 0, 1, NULL, "decay of the moving average of parameters; 0: off"},
    {"recompute", RT_OPT_BOOL, FIELD(recompute), "true", 0, 0, NULL,
     "make cheap activations again rather than keep them"},
    {0},
};

/* ---- what the updates are made with ---- */

static rt_value *state(rt_graph *g, const char *name, const rt_type *type) {
  rt_init zero = {RT_INIT_ZERO, 0, 0};
  rt_var *var;
  rt_status s = rt_store_declare(g->store, name, type, RT_SEGMENT_STATE, &zero, &var);
  return s == RT_OK ? rt_graph_variable(g, var) : rt_graph_failed(g, s);
}

rt_value *rt_train_state(rt_graph *g, const rt_value *parameter, const char *what) {
  const char *name = rt_arena_text(&g->arena, "%s.%s", parameter->name, what);
  return name ? state(g, name, &parameter->type) : rt_graph_failed(g, RT_E_MEMORY);
}

rt_value *rt_train_count(rt_graph *g, const char *name) {
  rt_type scalar = rt_type_of(RT_F32, 0, NULL);
  return state(g, name, &scalar);
}

void rt_train_assign(rt_graph *g, rt_value *variable, rt_value *value) {
  rt_emit(g, RT_OP(assign), variable ? variable->name : NULL, NULL, 2, variable, value);
}

rt_value *rt_train_blend(rt_graph *g, const char *name, rt_value *p, rt_value *a, rt_value *q, rt_value *b) {
  return rt_emit(g, RT_OP(blend), name, NULL, 4, p, q, a, b);
}

/* One node: p variable + q value of each, assigned to the variable, and the value from now on. */
static void blend_into(rt_graph *g, const char *name, rt_value *p, rt_value *q, rt_assigned *pair, int n) {
  rt_value **in = rt_arena_alloc(&g->arena, (size_t)(2 + 2 * n) * sizeof *in);
  if (!in) rt_graph_failed(g, RT_E_MEMORY);
  if (!in || !n) return;
  in[0] = p;
  in[1] = q;
  for (int i = 0; i < n; i++) {
    in[2 + 2 * i] = pair[i].variable;
    in[3 + 2 * i] = pair[i].value;
  }
  rt_value *out = rt_graph_add(g, RT_OP(blend), name, in, 2 + 2 * n, NULL);
  for (int i = 0; i < n; i++) {
    pair[i].value = rt_output(out, i);
    rt_train_assign(g, pair[i].variable, pair[i].value);
  }
}

static rt_assigned *new_pairs(rt_graph *g, int n) {
  rt_assigned *pair = rt_arena_alloc(&g->arena, (size_t)n * sizeof *pair);
  return pair ? pair : rt_graph_failed(g, RT_E_MEMORY);
}

/* ---- what is trained ---- */

/* Parameters that the loss reaches, with their gradients. */
static rt_status find_gradients(rt_training *t, rt_value *loss) {
  rt_graph *g = t->graph;
  size_t most = (size_t)g->n_values + 1;
  rt_value **wrt = rt_alloc_array(most, sizeof *wrt), **grad = rt_alloc_array(most, sizeof *grad);
  t->parameter = rt_alloc_array(most, sizeof *t->parameter);
  rt_status s = wrt && grad && t->parameter ? RT_OK : RT_E_MEMORY;
  int n = 0;
  for (int i = 0; i < g->n_values && s == RT_OK; i++) {
    const rt_value *v = g->value[i];
    if (v->kind == RT_VALUE_VARIABLE && v->var->segment == RT_SEGMENT_PARAMETER && v->var->trainable)
      wrt[n++] = g->value[i];
  }
  if (s == RT_OK) s = rt_gradients(loss, wrt, n, grad);
  for (int i = 0; i < n && s == RT_OK; i++)
    if (grad[i]) {
      t->parameter[t->n++] = (rt_trained){.parameter = wrt[i], .gradient = grad[i], .is_bias = wrt[i]->type.rank < 2};
    }
  if (s == RT_OK && !t->n)
    s = rt_fail(RT_E_ARGUMENT, "train: the loss %s depends on no trainable parameter", loss->name);
  rt_free(wrt);
  rt_free(grad);
  return s;
}

/* ---- micro-batches: gradients are summed in the store, and the last one updates ---- */

static void accumulate(rt_training *t) {
  rt_graph *g = t->graph;
  rt_value *update = rt_scalar_input(g, "update", 1), *share = rt_scalar_input(g, "share", 1);
  rt_value *begun = rt_train_count(g, "optimizer.begun"); /* is there a sum to add to? */
  rt_train_assign(g, begun, rt_sub(g, rt_scalar(g, 1), update));
  rt_assigned *sum = new_pairs(g, t->n);
  if (!sum) return;
  for (int i = 0; i < t->n; i++) {
    const rt_trained *p = &t->parameter[i];
    sum[i] = (rt_assigned){rt_train_state(g, p->parameter, "grad"), p->gradient};
  }
  blend_into(g, "accumulate", begun, share, sum, t->n);
  for (int i = 0; i < t->n; i++) t->parameter[i].gradient = sum[i].value;
  t->scale = t->applied = update;
}

/* ---- one pass over the gradients for their norm: clipping, and whether all is finite ---- */

static void guard(rt_training *t, rt_value *loss) {
  rt_graph *g = t->graph;
  rt_value **in = rt_arena_alloc(&g->arena, (size_t)t->n * sizeof *in);
  if (!in) {
    rt_graph_failed(g, RT_E_MEMORY);
    return;
  }
  for (int i = 0; i < t->n; i++) in[i] = t->parameter[i].gradient;
  rt_value *norm = rt_graph_add(g, RT_OP(global_norm), "optimizer", in, t->n, NULL);
  rt_value *limit = t->options->clip > 0 ? rt_scalar_input(g, "clip", t->options->clip) : rt_scalar(g, INFINITY);
  rt_value *scale = rt_emit(g, RT_OP(gradient_scale), "optimizer", NULL, 3, norm, loss, limit);
  t->finite = rt_output(scale, 1);
  t->scale = t->options->accumulate ? rt_mul(g, scale, t->scale) : scale;
  t->applied = t->options->accumulate ? rt_mul(g, t->finite, t->applied) : t->finite;
  rt_mark_output(g, "grad_norm", norm);
  rt_mark_output(g, "finite", t->finite);
}

/* Statistics of a forward pass that isn't finite stay out of the store. */
static void assign_statistics(rt_training *t) {
  rt_graph *g = t->graph;
  int n = t->finite ? t->n_floats : 0;
  if (n) blend_into(g, "statistics", rt_sub(g, rt_scalar(g, 1), t->finite), t->finite, t->statistic, n);
  for (int i = n; i < t->n_statistics; i++) rt_train_assign(g, t->statistic[i].variable, t->statistic[i].value);
}

/* ---- moving averages ---- */

/* Averages of these begin as copies: until "ema.begun" is 1 the decay is 0. */
static void average(rt_training *t) {
  rt_graph *g = t->graph;
  rt_value *one = rt_scalar(g, 1), *begun = rt_train_count(g, "ema.begun");
  rt_value *decay = rt_mul(g, rt_scalar_input(g, "ema_decay", t->options->ema), begun);
  rt_value *fresh = rt_mul(g, t->applied, rt_sub(g, one, decay)), *old = rt_sub(g, one, fresh);
  rt_train_assign(g, begun, rt_sub(g, rt_add(g, begun, t->applied), rt_mul(g, begun, t->applied)));
  rt_assigned *mean = new_pairs(g, t->n + t->n_floats);
  if (!mean) return;
  for (int i = 0; i < t->n; i++)
    mean[i] = (rt_assigned){rt_train_state(g, t->parameter[i].parameter, "ema"), t->parameter[i].now};
  for (int i = 0; i < t->n_floats; i++)
    mean[t->n + i] = (rt_assigned){rt_train_state(g, t->statistic[i].variable, "ema"), t->statistic[i].value};
  blend_into(g, "ema", old, fresh, mean, t->n + t->n_floats);
}

static rt_status train(rt_training *t, rt_value *loss) {
  rt_graph *g = t->graph;
  const rt_train_options *o = t->options;
  for (int i = 0; i < g->n_values; i++) t->low |= g->value[i]->type.dtype == RT_BF16;
  rt_status s = find_gradients(t, loss);
  if (s != RT_OK) return s;
  t->scale = t->applied = rt_scalar(g, 1);
  if (o->accumulate) accumulate(t);
  if (o->check || o->clip > 0) guard(t, loss);
  assign_statistics(t);
  rt_update_parameters(t);
  if (o->ema > 0) average(t);
  return rt_graph_status(g);
}

/* ---- the pass ---- */

/* A copy to work on: on failure the user's graph stays as it was. Assigns wait for what the step makes of their values. */
static rt_status copy(const rt_graph *g, rt_training *t) {
  rt_rewrite rw;
  t->statistic = rt_alloc_array((size_t)g->n_nodes + 1, sizeof *t->statistic);
  if (!t->statistic) return RT_E_MEMORY;
  rt_status s = rt_rewrite_begin(&rw, g);
  if (s != RT_OK) return s;
  for (int i = 0; i < g->n_nodes; i++) {
    const rt_node *node = g->node[i];
    if (!node->op->effect) rt_rewrite_node(&rw, node);
  }
  for (int floats = 1; floats >= 0; floats--)
    for (int i = 0; i < g->n_nodes; i++) {
      const rt_node *node = g->node[i];
      if (!node->op->effect || (node->in[0]->type.dtype == RT_F32) != floats) continue;
      t->statistic[t->n_statistics++] =
          (rt_assigned){rt_rewrite_value(&rw, node->in[0]), rt_rewrite_value(&rw, node->in[1])};
      t->n_floats += floats;
    }
  return rt_rewrite_end(&rw, &t->graph);
}

rt_status rt_pass_train(rt_graph **graph, const char *loss_name, const char *text) {
  rt_train_options o = {0};
  rt_training t = {.options = &o};
  rt_arena scratch = {0};
  rt_status s = rt_options_parse(options, &o, text, &scratch, "train");
  rt_arena_release(&scratch);
  if (s == RT_OK) s = copy(*graph, &t);
  if (s == RT_OK) {
    int forward = t.graph->n_nodes;
    rt_value *loss = rt_find(t.graph, loss_name);
    s = loss ? train(&t, loss) : rt_fail(RT_E_UNKNOWN, "train: the graph has no output %s to minimise", loss_name);
    if (s == RT_OK && o.recompute) s = rt_recompute(&t.graph, forward);
    if (s != RT_OK) rt_graph_free(t.graph);
  }
  rt_free(t.parameter);
  rt_free(t.statistic);
  if (s != RT_OK) return s;
  rt_graph_free(*graph);
  *graph = t.graph;
  return RT_OK;
}

const char *rt_coupled_layer(const rt_graph *g) {
  for (int i = 0; i < g->n_nodes; i++)
    if (g->node[i]->op == RT_OP(batch_norm_train)) return g->node[i]->name;
  return NULL;
}
