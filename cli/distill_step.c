#include "distill_step.h"

#include <string.h>

enum { MOST_TERMS = 16, LOSS = 512 };

/* What `terms` says, split at its spaces. */
static rt_value *build_loss(rt_graph *g, const char *terms, const rt_loss_inputs *in) {
  char copy[LOSS], *rest;
  const char *term[MOST_TERMS];
  int n = 0;
  snprintf(copy, sizeof copy, "%s", terms);
  for (char *one = strtok_r(copy, " ", &rest); one && n < MOST_TERMS; one = strtok_r(NULL, " ", &rest)) term[n++] = one;
  return rt_loss(g, term, n, NULL, in);
}

/* The teacher first: what it needs of memory is free again before the student keeps anything for its gradients. */
static rt_status build(network *net, const distill_step *step, const int64_t *input, int rank) {
  rt_status s = rt_store_new(&net->store);
  if (s == RT_OK) s = rt_graph_new(net->store, &net->graph);
  if (s != RT_OK) return s;
  rt_graph *g = net->graph;
  rt_dim dim[8] = {rt_symbol(g, "batch")};
  for (int i = 0; i < rank && i < 7; i++) dim[i + 1] = input[i];
  rt_value *x = rt_input(g, "x", RT_F32, rank + 1, dim);
  rt_dim logits[] = {dim[0], step->fed};
  rt_scope_push(g, "teacher");
  rt_value *teacher =
      step->fed ? rt_input(g, "teacher", RT_F32, 2, logits) : rt_model(g, step->teacher, x, step->teacher_options);
  rt_scope_pop(g);
  rt_loss_inputs in = {.student = rt_model(g, step->student, x, step->student_options),
                       .teacher = teacher,
                       .labels = rt_input(g, "target", RT_S64, 1, dim)};
  s = rt_graph_status(g);
  if (s == RT_OK) rt_mark_output(g, "loss", build_loss(g, step->loss, &in));
  return rt_graph_status(g);
}

static rt_status compile(network *net, const char *optimizer, bool bf16) {
  rt_graph **g = &net->graph;
  rt_status s = rt_pass_eval(g, "teacher.");
  if (s == RT_OK) s = rt_pass_fold_batch_norm(g, "teacher.");
  if (s == RT_OK) s = rt_pass_fuse(g, NULL);
  if (s == RT_OK && bf16) s = rt_pass_cast(g, NULL, RT_BF16);
  if (s == RT_OK) s = network_train(g, optimizer);
  if (s == RT_OK) s = rt_pass_layout(g);
  return s == RT_OK ? rt_pass_prune(g) : s;
}

rt_status distill_step_open(network *net, const distill_step *step, const int64_t *input, int rank, bool bf16,
                            const rt_plan_options *plan) {
  *net = (network){0};
  rt_status s = build(net, step, input, rank);
  if (s == RT_OK) s = compile(net, step->optimizer, bf16);
  if (s == RT_OK) s = rt_plan_new(net->graph, plan, &net->plan);
  if (s != RT_OK) network_close(net);
  return s;
}
