/* What a model of the table has and takes, untrained. */
#include "base/alloc.h"
#include "base/clock.h"
#include "op/op.h"
#include "recipe/recipe.h"
#include "train/train.h"

#include <math.h>

enum { BATCH = 8 };

/* The fastest of some runs: others may want the processors too. A slow one is believed at once. */
static rt_status time_plan(rt_plan *plan, const int64_t image[3], double *seconds) {
  int64_t dim[] = {BATCH, image[0], image[1], image[2]};
  float *x = rt_alloc_array((size_t)(BATCH * image[0] * image[1] * image[2]), sizeof *x);
  rt_status s = x ? RT_OK : RT_E_MEMORY;
  double end = rt_now() + 0.2, best = INFINITY;
  for (int i = 0; s == RT_OK && (i < 2 || rt_now() < end) && (best > 1e9 || best < 0.5); i++) {
    double began = rt_now();
    s = rt_plan_run(plan, &(rt_feed){"x", 4, dim, x}, 1);
    double took = rt_now() - began;
    if (i || took > 0.5) best = fmin(best, took);
  }
  rt_free(x);
  *seconds = best / BATCH;
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
    sum += op && op->precision == RT_PRECISION_LOW ? step.flops / 2 : 0;
  }
  return sum;
}

rt_status rt_model_sizes(const char *name, const char *options, const int64_t image[3], rt_sizes *out,
                         double *seconds) {
  rt_store *store;
  rt_graph *graph = NULL;
  rt_plan *plan = NULL;
  rt_plan_options how = {.kernels = seconds ? RT_KERNELS_AUTO : RT_KERNELS_REFERENCE};
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
  if (s == RT_OK && seconds) s = time_plan(plan, image, seconds);
  rt_plan_free(plan);
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}
