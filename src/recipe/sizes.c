/* What a model of the table has and takes, untrained. */
#include "base/alloc.h"
#include "base/clock.h"
#include "op/op.h"
#include "recipe/recipe.h"
#include "train/train.h"

#include <math.h>
#include <stdio.h>

enum { FORWARD_BATCH = 32 };

/* The fastest of some runs on images that are all 0: others may want the processors too. A slow one is believed at once. */
static rt_status time_plan(rt_plan *plan, const int64_t image[3], int64_t batch, bool trains, rt_cost *out) {
  int64_t dim[] = {batch, image[0], image[1], image[2]};
  float *x = rt_alloc_array((size_t)(batch * image[0] * image[1] * image[2]), sizeof *x), rate = 0;
  int64_t *target = rt_alloc_array((size_t)batch, sizeof *target);
  rt_feed feed[] = {{"x", 4, dim, x}, {"target", 1, dim, target}, {"lr", 0, NULL, &rate}};
  rt_status s = x && target ? RT_OK : RT_E_MEMORY;
  double end = rt_now() + 0.2, best = INFINITY;
  for (int i = 0; s == RT_OK && (i < 2 || rt_now() < end) && (i == 0 || best < 1); i++) {
    double began = rt_now();
    s = rt_plan_run(plan, feed, trains ? 3 : 1);
    best = fmin(best, rt_now() - began);
  }
  rt_free(x);
  rt_free(target);
  rt_memory m = rt_plan_memory(plan);
  *out = (rt_cost){best / (double)batch, m.arena + m.persistent + m.store};
  return s;
}

static rt_status compile_step(rt_graph **graph, bool low, bool recompute, rt_plan **plan) {
  char options[80];
  snprintf(options, sizeof options, "optimizer=sgd momentum=0.9 check=true recompute=%s", recompute ? "true" : "false");
  rt_plan_options how = {.kernels = RT_KERNELS_AUTO};
  rt_status s = rt_pass_fuse(graph, NULL);
  if (s == RT_OK && low) s = rt_pass_cast(graph, NULL, RT_BF16);
  if (s == RT_OK) s = rt_pass_train(graph, "loss", options);
  if (s == RT_OK) s = rt_pass_layout(graph);
  if (s == RT_OK) s = rt_pass_prune(graph);
  return s == RT_OK ? rt_plan_new(*graph, &how, plan) : s;
}

rt_status rt_model_cost(const char *name, const char *options, const int64_t image[3], int64_t batch, bool low,
                        bool recompute, rt_cost *out) {
  rt_store *store;
  rt_graph *graph = NULL;
  rt_plan *plan = NULL;
  rt_plan_options how = {.kernels = RT_KERNELS_AUTO};
  bool trains = batch > 0;
  rt_status s = rt_store_new(&store);
  if (s == RT_OK) s = rt_graph_new(store, &graph);
  if (s == RT_OK) {
    rt_dim x[] = {rt_symbol(graph, "batch"), image[0], image[1], image[2]};
    rt_value *logits = rt_model(graph, name, rt_input(graph, "x", RT_F32, 4, x), options);
    rt_mark_output(graph, "logits", logits);
    if (trains)
      rt_mark_output(graph, "loss", rt_cross_entropy(graph, logits, rt_input(graph, "target", RT_S64, 1, x), NULL));
    s = rt_graph_status(graph);
  }
  if (s == RT_OK)
    s = trains ? compile_step(&graph, low, recompute, &plan) : rt_compile_evaluation(&graph, false, low, &how, &plan);
  if (s == RT_OK) s = rt_store_init(store, 0);
  if (s == RT_OK) s = time_plan(plan, image, trains ? batch : FORWARD_BATCH, trains, out);
  rt_plan_free(plan);
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}

static double parameters(const rt_store *store) {
  double sum = 0;
  for (int i = 0; i < rt_store_count(store); i++) {
    rt_variable_info v;
    double n = 1;
    rt_store_info(store, i, &v);
    for (int d = 0; d < v.rank; d++) n *= (double)v.dim[d];
    sum += v.parameter ? n : 0;
  }
  return sum;
}

/* Multiply-adds of the plan's last binding: convolutions and products. */
static double multiplications(const rt_plan *plan) {
  double sum = 0;
  for (int i = 0; i < rt_plan_steps(plan); i++) {
    rt_step_info step;
    rt_plan_step(plan, i, &step);
    const rt_op *op = rt_op_find(step.op);
    bool product = op && (op->precision == RT_PRECISION_LOW || op == RT_OP(conv2d)->int8 || op == RT_OP(linear)->int8);
    sum += product ? step.flops / 2 : 0;
  }
  return sum;
}

rt_status rt_network_sizes(rt_network *n, rt_sizes *out) {
  const rt_network_info *i = &n->info;
  int64_t one[] = {1, i->channels, i->height, i->width};
  *out = (rt_sizes){.parameters = parameters(n->store)};
  rt_status s = rt_plan_bind(n->plan, &(rt_feed){"x", n->rank, one, NULL}, 1);
  if (s == RT_OK) out->macs = multiplications(n->plan);
  return s;
}

rt_status rt_model_sizes(const char *name, const char *options, const int64_t image[3], rt_sizes *out) {
  rt_store *store;
  rt_graph *graph = NULL;
  rt_plan *plan = NULL;
  rt_plan_options how = {.kernels = RT_KERNELS_REFERENCE};
  int64_t one[] = {1, image[0], image[1], image[2]};
  *out = (rt_sizes){0};
  rt_status s = rt_store_new(&store);
  if (s == RT_OK) s = rt_graph_new(store, &graph);
  if (s == RT_OK) {
    rt_dim x[] = {rt_symbol(graph, "batch"), image[0], image[1], image[2]};
    rt_mark_output(graph, "logits", rt_model(graph, name, rt_input(graph, "x", RT_F32, 4, x), options));
    s = rt_graph_status(graph);
  }
  if (s == RT_OK) out->parameters = parameters(store);
  if (s == RT_OK) s = rt_store_init(store, 0);
  if (s == RT_OK) s = rt_compile_evaluation(&graph, false, false, &how, &plan);
  if (s == RT_OK) s = rt_plan_bind(plan, &(rt_feed){"x", 4, one, NULL}, 1);
  if (s == RT_OK) out->macs = multiplications(plan);
  rt_plan_free(plan);
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}
