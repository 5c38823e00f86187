/* Lowering to int8: which nodes, and on which grids. */
#ifndef RT_PASS_INT8_H
#define RT_PASS_INT8_H

#include "op/op.h"

/* A node, or an input of the graph, by name. */
typedef struct rt_int8_node {
  const char *node;
  bool int8;    /* it runs in int8 */
  double scale; /* its result's grid is scale·(q − zero_point); 0: it has none */
  int zero_point;
  const int *winograd; /* multipliers and centre for conv2d_winograd_int8; NULL: it runs directly */
  bool per_tensor;     /* its weight has one scale, not one a filter */
} rt_int8_node;

enum { RT_WINOGRAD_NUMBERS = RT_WINOGRAD_TAPS + 1 };

typedef struct rt_int8_table {
  const rt_int8_node *node;
  int n;
  int64_t high; /* highest level of an activation: 255, or 127 */
  bool dynamic; /* grids are those of the activations themselves, found when they are there; the nodes' aren't read */
} rt_int8_table;

/* From a folded float graph, whose products read plain variables, to its int8 form over another store. There a product has the
 * variables "NODE.weight" (s8), "NODE.weight_scale" (f32, a number a filter) and "NODE.bias" (f32): declared, not filled. Other
 * variables keep name and type. RT_E_ARGUMENT where a grid is missing that a product needs. */
rt_status rt_lower_int8(const rt_graph *from, const rt_int8_table *table, rt_store *to, rt_graph **out);

/* The same in float, over the store of `from`, a graph in evaluation form (its weights may be derived): to check the int8 form.
 * What is on a grid there is on the same one here, in levels; a product is a sum of levels in f32, exact below 2²⁴, and becomes
 * levels by the operations of the int8 op in their order; layers by Winograd are rounded twice, as in int8. */
rt_status rt_int8_twin(const rt_graph *from, const rt_int8_table *table, rt_graph **out);

/* How the grids of activations change while the network is trained. */
typedef enum rt_grids {
  RT_GRIDS_OBSERVED, /* a moving average of ranges; the scalar input "observer_rate" says how fast it moves, 0: not at all */
  RT_GRIDS_LEARNED, /* scales are parameters (LSQ: Esser et al. 2020) */
} rt_grids;

/* The same decisions and the same rounding in float, with gradients, over the store of `from`: a fused training graph before it is
 * differentiated, where the batch norm behind a convolution belongs to it and the row of the convolution is that of both. Grids are the statistics "NODE.out.scale" and "NODE.out.zero_point" (f32
 * scalars that start as the table says); observed ones "NODE.out.low" and "NODE.out.high" too. */
rt_status rt_fake_quant(const rt_graph *from, const rt_int8_table *table, rt_grids grids, rt_graph **out);

/* Why a node can't run in int8; NULL: it can. */
const char *rt_int8_obstacle(const rt_node *node);
/* A convolution that F(2×2, 3×3) computes. */
bool rt_int8_winograd_applies(const rt_node *node);

#endif
