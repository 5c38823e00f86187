/* A network from a file, ready to run. */
#ifndef RT_TRAIN_NETWORK_H
#define RT_TRAIN_NETWORK_H

#include "base/arena.h"
#include "base/status.h"

struct rt_network {
  rt_arena arena;
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  rt_network_info info; /* texts are in the arena */
};

#endif
