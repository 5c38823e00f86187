/* A network from a file, ready to run. */
#ifndef RT_TRAIN_NETWORK_H
#define RT_TRAIN_NETWORK_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "retort.h"

struct rt_network {
  rt_arena arena;
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  rt_network_info info; /* texts are in the arena */
};

/* A model's graph into its evaluation form, and a plan of it; `averages`: of the moving averages of its weights. */
rt_status rt_compile_evaluation(rt_graph **graph, bool averages, bool bf16, const rt_plan_options *options,
                                rt_plan **out);

/* "0.5,0.25", exactly. */
void rt_add_numbers(rt_strbuf *text, const float *v, int64_t n);

#endif
