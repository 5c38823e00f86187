/* A model of the table, built and compiled for a purpose. */
#ifndef CLI_NETWORK_H
#define CLI_NETWORK_H

#include "command.h"

typedef struct network {
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
} network;

typedef enum purpose { PURPOSE_TRAIN, PURPOSE_INFER, PURPOSE_INSPECT } purpose;

/* `input` is a shape without the batch, "3x32x32". On failure the network is empty and the sentence is set. */
rt_status network_open(network *net, const char *model, const char *options, const int64_t *input, int rank,
                       purpose why, bool bf16, const rt_plan_options *plan);
void network_close(network *net);

#endif
