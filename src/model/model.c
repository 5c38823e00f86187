#include "model/model.h"

#define MODEL(name) extern const rt_model_row rt_model_row_##name;
#include "model/model.def"
#undef MODEL

static const rt_model_row *const rows[] = {
#define MODEL(name) &rt_model_row_##name,
#include "model/model.def"
#undef MODEL
};

int rt_model_count(void) { return (int)(sizeof rows / sizeof *rows); }

const rt_model_row *rt_model_at(int i) { return i >= 0 && i < rt_model_count() ? rows[i] : NULL; }

const char *rt_model_name(int i) { return rt_model_at(i) ? rows[i]->name : NULL; }

rt_value *rt_model(rt_graph *g, const char *name, rt_value *x, const char *options) {
  if (rt_graph_status(g) != RT_OK) return NULL;
  size_t length = strcspn(name, ":");
  const char *word = rt_arena_text(&g->arena, "%.*s", (int)length, name);
  const char *all = rt_arena_text(&g->arena, "%s %s", options ? options : "", name[length] ? name + length + 1 : "");
  if (!word || !all) return rt_graph_failed(g, RT_E_MEMORY);
  const rt_model_row *row = NULL;
  rt_nearest nearest = {.word = word};
  for (int i = 0; i < rt_model_count() && !row; i++) {
    if (strcmp(rows[i]->name, word) == 0) row = rows[i];
    rt_nearest_offer(&nearest, rows[i]->name);
  }
  if (!row) return rt_graph_failed(g, rt_nearest_fail(&nearest, "model"));
  if (!x) return rt_graph_failed(g, rt_fail(RT_E_ARGUMENT, "%s: its input is missing", name));
  void *parsed = rt_arena_alloc(&g->arena, row->options_size);
  rt_status s = parsed ? rt_options_parse(row->options, parsed, all, &g->arena, word) : RT_E_MEMORY;
  if (s != RT_OK) return rt_graph_failed(g, s);
  return row->build(g, x, row->variant, parsed);
}
