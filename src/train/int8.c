/* An int8 network from the float one that it is made of and its record; the same in float, rounded as it rounds. */
#include "base/alloc.h"
#include "pass/pass.h"
#include "train/network.h"

#include <stdio.h>

/* Compiled, and the owner of store and graph; on failure they stay the caller's. */
static rt_status compile(const rt_network *of, rt_store *store, rt_graph **graph, bool bf16,
                         const rt_plan_options *options, rt_network **out) {
  rt_network *n = rt_alloc(sizeof *n);
  *out = NULL;
  if (!n) return RT_E_MEMORY;
  n->info = of->info;
  n->input = of->input;
  n->output = of->output;
  n->rank = of->rank;
  rt_status s = rt_compile_evaluation(graph, false, bf16, options, &n->plan);
  if (s != RT_OK) {
    rt_free(n);
    return s;
  }
  n->store = store;
  n->graph = *graph;
  *out = n;
  return RT_OK;
}

static rt_status finish(rt_status s, const rt_network *of, rt_store *store, rt_graph *graph, bool bf16,
                        const rt_plan_options *options, rt_network **out) {
  *out = NULL;
  if (s == RT_OK) s = compile(of, store, &graph, bf16, options, out);
  if (s == RT_OK) return RT_OK;
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}

static bool wants_bf16(const rt_record *r) {
  for (int i = 0; i < r->n; i++)
    if (r->node[i].form == RT_FORM_BF16) return true;
  return false;
}

rt_status rt_int8_network(const rt_network *of, const rt_graph *folded, const rt_record *record, bool profile,
                          rt_network **out) {
  rt_store *store = NULL;
  rt_graph *graph = NULL;
  rt_status s = rt_record_build(record, folded, &store, &graph);
  return finish(s, of, store, graph, wants_bf16(record), &(rt_plan_options){.profile = profile}, out);
}

rt_status rt_folded_copy(const rt_graph *folded, rt_store **store, rt_graph **graph) {
  rt_status s = rt_folded_new(folded, false, store, graph);
  if (s == RT_OK) s = rt_store_init(*store, 0);
  for (int i = 0; s == RT_OK && i < (*store)->n; i++) {
    const rt_var *from = rt_store_find(folded->store, (*store)->var[i]->name);
    if (from) s = rt_store_set(*store, from->name, from->data, (size_t)rt_type_bytes(&from->type));
  }
  return s;
}

rt_status rt_float_network(const rt_network *of, const rt_graph *folded, bool profile, rt_network **out) {
  rt_store *store = NULL;
  rt_graph *graph = NULL;
  rt_status s = rt_folded_copy(folded, &store, &graph);
  return finish(s, of, store, graph, false, &(rt_plan_options){.profile = profile}, out);
}

rt_status rt_record_set_grids(const rt_record *record, rt_store *store) {
  static const char *const role[] = {"scale", "zero_point", "low", "high"};
  double most = rt_target_activations(record->target).high;
  rt_status s = RT_OK;
  for (int i = 0; i < record->n && s == RT_OK; i++) {
    const rt_record_node *n = &record->node[i];
    const double value[] = {n->scale, n->zero_point, -n->zero_point * n->scale, (most - n->zero_point) * n->scale};
    for (int k = 0; k < 4 && s == RT_OK; k++) {
      char name[300];
      float number = (float)value[k];
      snprintf(name, sizeof name, "%s.out.%s", n->node, role[k]);
      if (rt_store_find(store, name)) s = rt_store_set(store, name, &number, sizeof number);
    }
  }
  return s;
}

rt_status rt_twin_new(const rt_graph *folded, const rt_record *record, rt_store **store, rt_graph **twin) {
  rt_graph *graph = NULL;
  rt_int8_table table = {0};
  *twin = NULL;
  rt_status s = rt_folded_copy(folded, store, &graph);
  if (s == RT_OK) s = rt_record_table(record, &table);
  if (s == RT_OK) s = rt_int8_twin(graph, &table, twin);
  rt_free((void *)table.node);
  rt_graph_free(graph);
  return s;
}

rt_status rt_twin_network(const rt_network *of, const rt_graph *folded, const rt_record *record, rt_network **out) {
  rt_store *store = NULL;
  rt_graph *twin = NULL;
  rt_status s = rt_twin_new(folded, record, &store, &twin);
  /* directly: Winograd's sums of whole numbers aren't whole */
  return finish(s, of, store, twin, false, &(rt_plan_options){.kernels = RT_KERNELS_DIRECT}, out);
}
