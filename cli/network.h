/* A model of the table or of an .onnx file, built and compiled for a purpose. */
#ifndef CLI_NETWORK_H
#define CLI_NETWORK_H

#include "command.h"

typedef struct network {
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  int64_t input[8]; /* of one image: as asked for, or as an .onnx file says */
  int rank;
  bool has_weights;   /* they came with the graph */
  rt_network *opened; /* whose plan it is; NULL: its own */
} network;

typedef enum purpose { PURPOSE_TRAIN, PURPOSE_INFER, PURPOSE_INSPECT } purpose;

bool is_onnx(const char *model); /* by the end of its name */

/* Append the gradients and a step of `optimizer`, a name and its options as in "muon muon_steps=3". */
rt_status network_train(rt_graph **graph, const char *optimizer);

/* `input` is a shape without the batch, "3x32x32"; of an .onnx file, what it leaves open. `optimizer` is for PURPOSE_TRAIN. On
 * failure the network is empty and the sentence is set. */
rt_status network_open(network *net, const char *model, const char *options, const int64_t *input, int rank,
                       purpose why, const char *optimizer, bool bf16, const rt_plan_options *plan);
void network_close(network *net);

#endif
