/* A model in int8, to be timed before anybody has trained it. */
#ifndef CLI_BENCH_INT8_H
#define CLI_BENCH_INT8_H

#include "network.h"

/* The model with drawn weights, quantized statically on made-up images of the shape `input` (C×H×W). DONE, or another exit
 * status after a complaint, and the network is empty. */
int bench_int8_open(network *net, const char *model, const char *options, const int64_t *input, int rank,
                    const rt_plan_options *plan);

#endif
