#include "op/op.h"

static const rt_op *const rows[] = {
#define ROW(name) &rt_op_row_##name,
#include "op/op.def"
#undef ROW
};

int rt_op_count(void) { return (int)(sizeof rows / sizeof *rows); }

const rt_op *rt_op_at(int i) { return i >= 0 && i < rt_op_count() ? rows[i] : NULL; }

const char *rt_op_name(int i) { return rt_op_at(i) ? rows[i]->name : NULL; }

const rt_op *rt_op_find(const char *name) {
  for (int i = 0; i < rt_op_count(); i++)
    if (strcmp(rows[i]->name, name) == 0) return rows[i];
  return NULL;
}

static rt_status unknown(const char *op) {
  rt_nearest nearest = {.word = op};
  for (int i = 0; i < rt_op_count(); i++) rt_nearest_offer(&nearest, rows[i]->name);
  return rt_nearest_fail(&nearest, "op");
}

rt_value *rt_apply(rt_graph *g, const char *op, const char *name, rt_value *const *in, int n_in, const char *options) {
  if (g->status != RT_OK) return NULL;
  const rt_op *row = rt_op_find(op);
  if (!row) return rt_graph_failed(g, unknown(op));
  const char *full = rt_arena_text(&g->arena, "%s%s", g->scope, name ? name : op);
  void *attr = rt_arena_alloc(&g->arena, row->attr_size);
  if (!full || !attr) return rt_graph_failed(g, RT_E_MEMORY);
  rt_status s = rt_options_parse(row->options, attr, options, &g->arena, full);
  if (s != RT_OK) return rt_graph_failed(g, s);
  return rt_graph_add(g, row, full, in, n_in, attr);
}
