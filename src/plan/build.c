#include "base/alloc.h"
#include "plan/plan.h"

/* What is known of each node while steps are made. */
typedef struct draft {
  rt_site *site; /* NULL: needs no kernel (a view, an assign) */
  const rt_kernel *kernel;
  bool live;    /* reaches a result */
  bool derived; /* depends on variables and constants only: prologue */
  bool taken;   /* its site belongs to a step now */
} draft;

typedef struct builder {
  rt_bound *b;
  const rt_graph *g;
  draft *node;   /* by node id */
  bool *needed;  /* by value id: some step reads its data */
  bool *derived; /* by value id */
  const rt_var **assigned;
  int n_assigned;
  struct made_pack {
    const rt_value *source;
    uint64_t key;
    int buffer;
  } * packs;
  int n_packs;
} builder;

static bool shape_only(const rt_node *node, int i) { return i < 32 && (node->op->shape_only >> i & 1); }

/* The output is the first input's bytes: views, and reorders between orders that are the same. */
static bool is_view(const builder *k, const rt_node *node) {
  if (node->op->view) return true;
  return node->op == RT_OP(reorder) && rt_layouts_agree(&k->b->type[node->out[0]->id]);
}

/* ---- kernels ---- */

static rt_status choose(builder *k, const rt_node *node, rt_kernels policy) {
  rt_bound *b = k->b;
  rt_site *site = rt_bound_alloc(b, 1, sizeof *site);
  const rt_type **in = rt_bound_alloc(b, (size_t)node->n_in, sizeof *in);
  rt_type *out = rt_bound_alloc(b, (size_t)node->n_out, sizeof *out);
  if (!site || !in || !out) return RT_E_MEMORY;
  for (int i = 0; i < node->n_in; i++) in[i] = node->in[i] ? &b->type[node->in[i]->id] : NULL;
  for (int i = 0; i < node->n_out; i++) out[i] = b->type[node->out[i]->id];
  *site = (rt_site){.op = node->op,
                    .attr = node->attr,
                    .name = node->name,
                    .in = in,
                    .out = out,
                    .n_in = node->n_in,
                    .n_out = node->n_out};
  rt_status s = rt_kernel_choose(site, policy, &k->node[node->id].kernel);
  if (s == RT_OK) k->node[node->id].site = site;
  return s;
}

static rt_status choose_all(builder *k, rt_kernels policy) {
  for (int i = 0; i < k->g->n_nodes; i++) {
    const rt_node *node = k->g->node[i];
    if (!k->node[i].live || node->op->effect || is_view(k, node)) continue;
    rt_status s = choose(k, node, policy);
    if (s != RT_OK) return s;
  }
  return RT_OK;
}

/* ---- what is needed, what is derived ---- */

static const rt_pack *pack_of(const builder *k, const rt_node *node, int input) {
  const rt_site *site = k->node[node->id].site;
  for (int i = 0; site && i < site->n_packs; i++)
    if (site->pack[i].input == input) return &site->pack[i];
  return NULL;
}

/* Where a pack reads from: the f32 value itself when the input is only its cast. */
static const rt_value *pack_source(const rt_pack *pack, const rt_value *v) {
  const rt_node *cast = v->node;
  if (cast && cast->op == RT_OP(cast) && v->type.dtype != pack->source && cast->in[0]->type.dtype == pack->source)
    return cast->in[0];
  return v;
}

static void mark_needed(builder *k) {
  const rt_graph *g = k->g;
  for (int i = 0; i < g->n_outputs; i++) k->needed[g->output[i].value->id] = true;
  for (int i = g->n_nodes; i-- > 0;) {
    const rt_node *node = g->node[i];
    bool live = node->op->effect;
    for (int j = 0; j < node->n_out; j++) live |= k->needed[node->out[j]->id];
    k->node[i].live &= live;
    if (!k->node[i].live) continue;
    for (int j = 0; j < node->n_in; j++) {
      const rt_value *v = node->in[j];
      const rt_pack *pack = v ? pack_of(k, node, j) : NULL;
      if (v && !shape_only(node, j) && !(node->op->effect && j == 0))
        k->needed[(pack ? pack_source(pack, v) : v)->id] = true;
    }
  }
}

static bool is_assigned(const builder *k, const rt_var *var) {
  for (int i = 0; i < k->n_assigned; i++)
    if (k->assigned[i] == var) return true;
  return false;
}

static rt_status find_assigned(builder *k) {
  for (int i = 0; i < k->g->n_nodes; i++) {
    const rt_node *node = k->g->node[i];
    if (!node->op->effect) continue; /* assigns are roots: live */
    const rt_var *var = node->in[0]->var;
    if (!var) return rt_fail(RT_E_ARGUMENT, "assign %s: its first input must be a variable", node->name);
    if (is_assigned(k, var)) return rt_fail(RT_E_UNSUPPORTED, "variable %s is assigned twice in one graph", var->name);
    k->assigned[k->n_assigned++] = var;
  }
  return RT_OK;
}

static void mark_derived(builder *k) {
  const rt_graph *g = k->g;
  for (int i = 0; i < g->n_values; i++) {
    const rt_value *v = g->value[i];
    k->derived[i] = v->kind == RT_VALUE_CONSTANT || (v->kind == RT_VALUE_VARIABLE && !is_assigned(k, v->var));
  }
  for (int i = 0; i < g->n_nodes; i++) {
    const rt_node *node = g->node[i];
    bool derived = !node->op->effect;
    for (int j = 0; j < node->n_in; j++) derived &= !node->in[j] || k->derived[node->in[j]->id];
    k->node[i].derived = derived;
    for (int j = 0; j < node->n_out; j++) k->derived[node->out[j]->id] = derived;
  }
}

/* ---- steps ---- */

static rt_status value_buffers(builder *k) {
  rt_bound *b = k->b;
  for (int i = 0; i < k->g->n_values; i++) {
    const rt_value *v = k->g->value[i];
    static const rt_place places[] = {[RT_VALUE_INPUT] = RT_PLACE_FEED,
                                      [RT_VALUE_VARIABLE] = RT_PLACE_VARIABLE,
                                      [RT_VALUE_CONSTANT] = RT_PLACE_CONSTANT,
                                      [RT_VALUE_NODE] = RT_PLACE_ARENA};
    b->buffer[i] = -1;
    if (v->kind == RT_VALUE_NODE && (v->node->op->effect || is_view(k, v->node))) { /* producers have smaller ids */
      b->buffer[i] = b->buffer[v->node->in[v->node->op->effect ? 1 : 0]->id];
      continue;
    }
    if (v->kind == RT_VALUE_NODE && !k->node[v->node->id].live) continue;
    if (!rt_bound_new_buffer(b, places[v->kind], rt_type_bytes(&b->type[i]), v)) return RT_E_MEMORY;
    b->buffer[i] = b->n_buffers - 1;
  }
  return RT_OK;
}

static void set_in(rt_bound *b, rt_step *step, int i, const rt_value *v, int buffer) {
  step->in_view[i] = rt_tensor_view(&b->type[v->id], NULL);
  step->in[i] = &step->in_view[i];
  step->in_buffer[i] = buffer;
}

/* The buffer with this pack, made by a new step unless an earlier one made it. -1: no memory. */
static int packed(builder *k, const rt_node *node, const rt_pack *pack, bool prologue) {
  const rt_value *source = pack_source(pack, node->in[pack->input]);
  for (int i = 0; i < k->n_packs; i++)
    if (k->packs[i].source == source && k->packs[i].key == pack->key) return k->packs[i].buffer;
  if (!rt_bound_new_buffer(k->b, RT_PLACE_ARENA, pack->bytes, source)) return -1;
  int buffer = k->b->n_buffers - 1;
  rt_step *step = rt_bound_new_step(k->b, RT_STEP_PACK, node, 1, 1);
  if (!step) return -1;
  step->pack = pack;
  step->prologue = prologue;
  set_in(k->b, step, 0, source, k->b->buffer[source->id]);
  step->out_buffer[0] = buffer;
  k->packs[k->n_packs++] = (struct made_pack){source, pack->key, buffer};
  return buffer;
}

static rt_status add_step(builder *k, const rt_node *node) {
  rt_bound *b = k->b;
  draft *d = &k->node[node->id];
  int pack_buffer[RT_MAX_PACKS];
  for (int i = 0; i < d->site->n_packs; i++) {
    pack_buffer[i] = packed(k, node, &d->site->pack[i], d->derived);
    if (pack_buffer[i] < 0) return RT_E_MEMORY;
  }
  rt_step *step = rt_bound_new_step(b, RT_STEP_KERNEL, node, node->n_in, node->n_out);
  if (!step) return RT_E_MEMORY;
  step->site = d->site;
  step->kernel = d->kernel;
  step->prologue = d->derived;
  d->taken = true;
  for (int i = 0; i < node->n_in; i++) {
    step->in_buffer[i] = -1;
    if (!node->in[i]) continue;
    set_in(b, step, i, node->in[i], shape_only(node, i) ? -1 : b->buffer[node->in[i]->id]);
  }
  for (int i = 0; i < d->site->n_packs; i++) step->in_buffer[d->site->pack[i].input] = pack_buffer[i];
  for (int i = 0; i < node->n_out; i++) {
    step->out_view[i] = rt_tensor_view(&b->type[node->out[i]->id], NULL);
    step->out_buffer[i] = b->buffer[node->out[i]->id];
  }
  if (d->site->workspace <= 0) return RT_OK;
  if (!rt_bound_new_buffer(b, RT_PLACE_ARENA, d->site->workspace, node->out[0])) return RT_E_MEMORY;
  b->steps[b->n_steps - 1].workspace = b->n_buffers - 1;
  return RT_OK;
}

/* Derived nodes, and the packs of derived values that later nodes want. */
static rt_status add_prologue(builder *k) {
  rt_status s = RT_OK;
  for (int i = 0; i < k->g->n_nodes && s == RT_OK; i++) {
    const rt_node *node = k->g->node[i];
    const draft *d = &k->node[i];
    if (!d->live || !d->site) continue;
    if (d->derived) s = add_step(k, node);
    for (int j = 0; !d->derived && j < d->site->n_packs && s == RT_OK; j++) {
      const rt_pack *pack = &d->site->pack[j];
      if (k->derived[pack_source(pack, node->in[pack->input])->id] && packed(k, node, pack, true) < 0) s = RT_E_MEMORY;
    }
  }
  k->b->n_prologue = k->b->n_steps;
  return s;
}

static rt_status add_main(builder *k) {
  rt_status s = RT_OK;
  for (int i = 0; i < k->g->n_nodes && s == RT_OK; i++)
    if (k->node[i].live && k->node[i].site && !k->node[i].derived) s = add_step(k, k->g->node[i]);
  return s;
}

/* Variables that the prologue reads: it runs again when one of them changes. */
static rt_status watch(builder *k) {
  rt_bound *b = k->b;
  b->watched = rt_bound_alloc(b, (size_t)k->g->n_values + 1, sizeof *b->watched);
  b->seen = rt_bound_alloc(b, (size_t)k->g->n_values + 1, sizeof *b->seen);
  if (!b->watched || !b->seen) return RT_E_MEMORY;
  for (int i = 0; i < k->g->n_values; i++)
    if (k->g->value[i]->kind == RT_VALUE_VARIABLE && k->derived[i] && k->needed[i])
      b->watched[b->n_watched++] = k->g->value[i]->var;
  return RT_OK;
}

static rt_status build(builder *k, rt_kernels policy) {
  int most_packs = 0;
  for (int i = 0; i < k->g->n_nodes; i++) k->node[i].live = k->b->live->node[i];
  rt_status s = find_assigned(k);
  if (s == RT_OK) s = choose_all(k, policy);
  for (int i = 0; i < k->g->n_nodes; i++)
    if (k->node[i].site) most_packs += k->node[i].site->n_packs;
  k->packs = rt_bound_alloc(k->b, (size_t)most_packs + 1, sizeof *k->packs);
  if (s == RT_OK && !k->packs) s = RT_E_MEMORY;
  if (s != RT_OK) return s;
  mark_needed(k);
  mark_derived(k);
  s = value_buffers(k);
  if (s == RT_OK) s = add_prologue(k);
  if (s == RT_OK) s = add_main(k);
  if (s == RT_OK) s = watch(k);
  return s;
}

rt_status rt_build_steps(rt_bound *b, rt_kernels policy) {
  const rt_graph *g = b->graph;
  builder k = {.b = b, .g = g};
  k.node = rt_bound_alloc(b, (size_t)g->n_nodes + 1, sizeof *k.node);
  k.needed = rt_bound_alloc(b, (size_t)g->n_values + 1, sizeof *k.needed);
  k.derived = rt_bound_alloc(b, (size_t)g->n_values + 1, sizeof *k.derived);
  k.assigned = rt_bound_alloc(b, (size_t)g->n_nodes + 1, sizeof *k.assigned);
  if (!k.node || !k.needed || !k.derived || !k.assigned) return RT_E_MEMORY;
  rt_status s = build(&k, policy);
  for (int i = 0; i < g->n_nodes; i++) /* prepared, but no step came of it */
    if (k.node[i].site && !k.node[i].taken) rt_site_release(k.node[i].site, k.node[i].kernel);
  return s;
}
