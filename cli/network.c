#include "network.h"

#include <string.h>

bool is_onnx(const char *model) {
  const char *dot = strrchr(model, '.');
  return dot && strcmp(dot, ".onnx") == 0;
}

void network_close(network *net) {
  if (net->opened)
    rt_network_free(net->opened);
  else
    rt_plan_free(net->plan);
  rt_graph_free(net->graph);
  rt_store_free(net->store);
  *net = (network){0};
}

/* The graph's own shape counts. */
static rt_status read_onnx(network *net, const char *path) {
  rt_read_options o = {true, net->rank > 0 ? net->input[0] : 0, net->rank > 1 ? net->input[1] : 0,
                       net->rank > 2 ? net->input[2] : 0};
  rt_status s = rt_graph_read(path, &o, net->store, &net->graph);
  if (s != RT_OK) return s;
  rt_value_type x = rt_value_type_of(rt_find(net->graph, "x"));
  net->rank = x.rank - 1;
  for (int i = 0; i < net->rank; i++) net->input[i] = x.dim[i + 1];
  net->has_weights = true;
  return RT_OK;
}

static rt_status build_model(network *net, const char *model, const char *options) {
  rt_status s = rt_graph_new(net->store, &net->graph);
  if (s != RT_OK) return s;
  rt_graph *g = net->graph;
  rt_dim dim[8] = {rt_symbol(g, "batch")};
  for (int i = 0; i < net->rank; i++) dim[i + 1] = net->input[i];
  rt_mark_output(g, "logits", rt_model(g, model, rt_input(g, "x", RT_F32, net->rank + 1, dim), options));
  return rt_graph_status(g);
}

static rt_status build(network *net, const char *model, const char *options, purpose why) {
  rt_status s = rt_store_new(&net->store);
  if (s == RT_OK) s = is_onnx(model) ? read_onnx(net, model) : build_model(net, model, options);
  if (s != RT_OK || why != PURPOSE_TRAIN) return s;
  rt_graph *g = net->graph;
  rt_dim batch = rt_symbol(g, "batch");
  rt_value *target = rt_input(g, "target", RT_S64, 1, &batch);
  rt_mark_output(g, "loss", rt_cross_entropy(g, rt_find(g, "logits"), target, NULL));
  return rt_graph_status(g);
}

rt_status network_train(rt_graph **graph, const char *optimizer) {
  char text[1024];
  snprintf(text, sizeof text, "weight_decay=5e-4 optimizer=%s", optimizer);
  return rt_pass_train(graph, "loss", text);
}

/* The passes in the order that works: see src/pass/pass.h. */
static rt_status compile(network *net, purpose why, const char *optimizer, bool bf16) {
  rt_graph **g = &net->graph;
  rt_status s = RT_OK;
  if (why != PURPOSE_TRAIN) s = rt_pass_eval(g, NULL);
  if (why == PURPOSE_INSPECT) return s;
  if (s == RT_OK && why == PURPOSE_INFER) s = rt_pass_fold_batch_norm(g, NULL);
  if (s == RT_OK) s = rt_pass_fuse(g, NULL);
  if (s == RT_OK && bf16) s = rt_pass_cast(g, NULL, RT_BF16);
  if (s == RT_OK && why == PURPOSE_TRAIN) s = network_train(g, optimizer);
  if (s == RT_OK) s = rt_pass_layout(g);
  if (s == RT_OK) s = rt_pass_prune(g);
  return s;
}

rt_status network_open(network *net, const char *model, const char *options, const int64_t *input, int rank,
                       purpose why, const char *optimizer, bool bf16, const rt_plan_options *plan) {
  *net = (network){.rank = rank < 7 ? rank : 7};
  for (int i = 0; i < net->rank; i++) net->input[i] = input[i];
  rt_status s = build(net, model, options, why);
  if (s == RT_OK) s = compile(net, why, optimizer, bf16);
  if (s == RT_OK) s = rt_plan_new(net->graph, plan, &net->plan);
  if (s != RT_OK) network_close(net);
  return s;
}
