/* A step whose loss or gradients aren't finite was not applied, so it can be made again: forward with every result kept,
 * then the gradients. The first that isn't finite is where to look. */
#include "base/alloc.h"
#include "train/train.h"

#include <stdio.h>
#include <string.h>

static bool is_finite(const rt_result *r) {
  int64_t n = 1;
  for (int i = 0; i < r->rank; i++) n *= r->dim[i];
  const float *x = r->data;
  const uint16_t *low = r->data;
  for (int64_t i = 0; i < n; i++) {
    if (r->dtype == RT_F32 && !isfinite(x[i])) return false;
    if (r->dtype == RT_BF16 && (low[i] & 0x7f80) == 0x7f80) return false;
  }
  return true;
}

/* Mark what the forward pass makes, in order, and after it the gradients of the parameters, by "forward 12" and
 * "gradient 3"; *nodes and *parameters tell how far the numbers go. */
static rt_status mark(rt_graph *g, int *nodes, int *parameters) {
  char name[64];
  rt_value **wrt = rt_alloc_array((size_t)g->n_values + 1, sizeof *wrt);
  rt_value **grad = rt_alloc_array((size_t)g->n_values + 1, sizeof *grad);
  rt_status s = wrt && grad ? RT_OK : RT_E_MEMORY;
  *nodes = g->n_nodes;
  *parameters = 0;
  for (int i = 0; i < *nodes; i++) {
    snprintf(name, sizeof name, "forward %d", i);
    if (!g->node[i]->op->effect) rt_mark_output(g, name, g->node[i]->out[0]);
  }
  for (int i = 0; i < g->n_values && s == RT_OK; i++)
    if (g->value[i]->kind == RT_VALUE_VARIABLE && g->value[i]->var->segment == RT_SEGMENT_PARAMETER)
      wrt[(*parameters)++] = g->value[i];
  if (s == RT_OK) s = rt_gradients(rt_find(g, "loss"), wrt, *parameters, grad);
  for (int i = 0; i < *parameters && s == RT_OK; i++) {
    snprintf(name, sizeof name, "gradient %d", i);
    if (grad[i]) rt_mark_output(g, name, grad[i]);
  }
  rt_free(wrt);
  rt_free(grad);
  return s == RT_OK ? rt_graph_status(g) : s;
}

static bool is_bad(const rt_plan *plan, const char *what, int i) {
  char name[64];
  rt_result r;
  snprintf(name, sizeof name, "%s %d", what, i);
  return rt_plan_result(plan, name, &r) == RT_OK && !is_finite(&r);
}

static void name_first(const rt_graph *g, const rt_plan *plan, int nodes, int parameters, char *text, size_t size) {
  for (int i = 0; i < nodes; i++)
    if (is_bad(plan, "forward", i)) {
      snprintf(text, size, "the first layer whose result isn't finite is %s (%s)", g->node[i]->name,
               g->node[i]->op->name);
      return;
    }
  for (int i = 0, k = 0; i < g->n_values && k < parameters; i++) {
    if (g->value[i]->kind != RT_VALUE_VARIABLE || g->value[i]->var->segment != RT_SEGMENT_PARAMETER) continue;
    if (is_bad(plan, "gradient", k++)) {
      snprintf(text, size, "the results are finite, and the gradient of %s isn't", g->value[i]->name);
      return;
    }
  }
  snprintf(text, size, "which layer it is doesn't show: made again, all of it is finite");
}

/* The layer, as far as it can be found: there may be no memory to keep everything. */
static void find_layer(rt_trainer *t, const rt_train_feeds *feeds, char *text, size_t size) {
  rt_graph *g = NULL;
  rt_plan *plan = NULL;
  rt_plan_options options = {.kernels = (rt_kernels)t->o.kernels};
  rt_feed kept[RT_MOST_FEEDS];
  int n = 0, nodes = 0, parameters = 0;
  rt_status s = rt_train_forward(t, t->store, &g);
  if (s == RT_OK) s = mark(g, &nodes, &parameters);
  if (s == RT_OK) s = rt_plan_new(g, &options, &plan);
  for (int i = 0; i < feeds->n && s == RT_OK; i++)
    if (rt_find(g, feeds->feed[i].name)) kept[n++] = feeds->feed[i];
  if (s == RT_OK) s = rt_plan_run(plan, kept, n);
  if (s == RT_OK)
    name_first(g, plan, nodes, parameters, text, size);
  else
    snprintf(text, size, "the layer can't be found: %s", rt_error());
  rt_plan_free(plan);
  rt_graph_free(g);
}

/* Terms whose value isn't finite, else all. Asked before the step is made again. */
static void name_terms(const rt_trainer *t, char *text, size_t size) {
  const rt_objective *o = &t->objective;
  size_t n = 0;
  for (int bad = 1; bad >= 0 && !n; bad--)
    for (int i = 0; i < o->outputs && n < size; i += 2) {
      rt_result r;
      if (bad && rt_plan_result(t->train_plan, o->output[i], &r) == RT_OK && is_finite(&r)) continue;
      n += (size_t)snprintf(text + n, size - n, "%s%s", n ? " + " : "", o->output[i] + strlen("loss."));
    }
}

rt_status rt_train_diagnose(rt_trainer *t, const rt_train_feeds *feeds, double loss) {
  char where[640], terms[256] = "";
  name_terms(t, terms, sizeof terms);
  find_layer(t, feeds, where, sizeof where);
  const char *what = isnan(loss) ? "nan" : isinf(loss) ? "infinite" : "finite, and a gradient is not";
  return rt_fail(RT_E_DIVERGED,
                 "step %lld (epoch %lld): the loss (%s) is %s: %s. The step was not made; %s%s. A smaller lr, a "
                 "longer warm-up or clip=1 may help",
                 (long long)t->state.step + 1, (long long)t->state.epochs + 1, terms, what, where,
                 t->saved ? "the last good checkpoint stays in " : "there is no checkpoint yet in ", t->run.path);
}
