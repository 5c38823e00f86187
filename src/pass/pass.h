/* Passes: graph to graph. The order that works: eval, ema, fold_batch_norm, fuse, cast, train (differentiate), layout, prune. */
#ifndef RT_PASS_PASS_H
#define RT_PASS_PASS_H

#include "op/op.h"
#include "pass/int8.h"

/* What most passes are: a visitor of the nodes in order, each copied unless the visitor did something else.
 * It returns false to leave the node to be copied. Assigns come after every other node. */
typedef struct rt_pass {
  rt_rewrite rw;
  const char *scope; /* nodes whose name doesn't begin with it are copied; NULL: all are visited */
  int *uses;         /* of each old value: by nodes and marked outputs */
  void *state;
} rt_pass;
typedef bool rt_visit(rt_pass *pass, const rt_node *node);

/* Batch norm with its running statistics, which stay as they are, in a graph that is trained. */
rt_status rt_pass_freeze_statistics(rt_graph **graph, const char *scope);

/* Of a training graph, to look at what a step will see by the names that folding leaves: batch norms use the batch and keep nothing
 * of it, dropout is gone, and a norm that would be folded has its layer's name. */
rt_status rt_pass_unfolded(rt_graph **graph);

/* Trade a little time for much memory: nodes from number `boundary` on are gradients; what they read of the forward pass
 * and is cheap to make again is made again, just before they need it. */
rt_status rt_recompute(rt_graph **graph, int boundary);

rt_status rt_pass_run(rt_graph **graph, const char *scope, rt_visit *visit, void *state);
bool rt_in_scope(const char *scope, const rt_node *node);

#endif
