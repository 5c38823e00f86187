#include "network.h"

void network_close(network *net) {
  rt_plan_free(net->plan);
  rt_graph_free(net->graph);
  rt_store_free(net->store);
  *net = (network){0};
}

static rt_status build(network *net, const char *model, const char *options, const int64_t *input, int rank,
                       purpose why) {
  rt_status s = rt_store_new(&net->store);
  if (s == RT_OK) s = rt_graph_new(net->store, &net->graph);
  if (s != RT_OK) return s;
  rt_graph *g = net->graph;
  rt_dim dim[8] = {rt_symbol(g, "batch")};
  for (int i = 0; i < rank && i < 7; i++) dim[i + 1] = input[i];
  rt_value *logits = rt_model(g, model, rt_input(g, "x", RT_F32, rank + 1, dim), options);
  rt_mark_output(g, "logits", logits);
  if (why == PURPOSE_TRAIN)
    rt_mark_output(g, "loss", rt_cross_entropy(g, logits, rt_input(g, "target", RT_S64, 1, dim), NULL));
  return rt_graph_status(g);
}

/* The passes in the order that works: see src/pass/pass.h. */
static rt_status compile(network *net, purpose why, bool bf16) {
  rt_graph **g = &net->graph;
  rt_status s = RT_OK;
  if (why != PURPOSE_TRAIN) s = rt_pass_eval(g, NULL);
  if (why == PURPOSE_INSPECT) return s;
  if (s == RT_OK && why == PURPOSE_INFER) s = rt_pass_fold_batch_norm(g, NULL);
  if (s == RT_OK) s = rt_pass_fuse(g, NULL);
  if (s == RT_OK && bf16) s = rt_pass_cast(g, NULL, RT_BF16);
  if (s == RT_OK && why == PURPOSE_TRAIN) s = rt_pass_train(g, "loss", "optimizer=sgd weight_decay=5e-4");
  if (s == RT_OK) s = rt_pass_layout(g);
  if (s == RT_OK) s = rt_pass_prune(g);
  return s;
}

rt_status network_open(network *net, const char *model, const char *options, const int64_t *input, int rank,
                       purpose why, bool bf16, const rt_plan_options *plan) {
  *net = (network){0};
  rt_status s = build(net, model, options, input, rank, why);
  if (s == RT_OK) s = compile(net, why, bf16);
  if (s == RT_OK) s = rt_plan_new(net->graph, plan, &net->plan);
  if (s != RT_OK) network_close(net);
  return s;
}
