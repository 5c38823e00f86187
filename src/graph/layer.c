/* Layers by the names that the user knows: a node's, one that the file has for it besides, or that of a scope, which means its last
 * result. */
#include "graph/graph.h"

/* An assign has none. */
static bool is_result(const rt_node *node) { return !node->op->effect && node->n_out > 0; }

/* The part of a name that ends before separator number `depth` (from 1), or all of it. */
static size_t part(const char *name, int depth) {
  size_t n = 0;
  for (; name[n]; n++)
    if (n > 0 && (name[n] == '.' || name[n] == '/') && --depth == 0) break;
  return n;
}

static int depth_of(const char *name) {
  int n = 1;
  for (size_t i = 1; *name && name[i]; i++) n += name[i] == '.' || name[i] == '/';
  return n;
}

static bool is_under(const char *name, const char *scope, size_t length) {
  return strncmp(name, scope, length) == 0 && (name[length] == '.' || name[length] == '/');
}

rt_value *rt_find_layer(rt_graph *g, const char *name) {
  size_t length = strlen(name);
  rt_value *under = NULL;
  for (int i = g->n_nodes; length && i-- > 0;) {
    const rt_node *node = g->node[i];
    if (!is_result(node)) continue;
    if (strcmp(node->name, name) == 0) return node->out[0];
    if (!under && is_under(node->name, name, length)) under = node->out[0];
  }
  for (int i = 0; i < g->n_aliases; i++)
    if (g->alias[i].value->node && strcmp(g->alias[i].name, name) == 0) return g->alias[i].value;
  return under;
}

const char *rt_layer_name(rt_graph *g, const rt_value *v) {
  if (!v->node) return NULL;
  for (int depth = 1; depth <= depth_of(v->node->name); depth++) {
    const char *name = rt_arena_text(&g->arena, "%.*s", (int)part(v->node->name, depth), v->node->name);
    if (!name) return rt_graph_failed(g, RT_E_MEMORY);
    if (rt_find_layer(g, name) == v) return name;
  }
  return NULL;
}

static bool is_listed(const rt_layer_info *list, int n, const char *name, size_t length) {
  for (int i = n; i-- > 0;)
    if (strlen(list[i].name) == length && strncmp(list[i].name, name, length) == 0) return true;
  return false;
}

static void describe(const char *name, const rt_value *v, rt_layer_info *out) {
  *out = (rt_layer_info){.name = name, .dtype = v->type.dtype, .rank = v->type.rank};
  for (int i = 0; i < v->type.rank; i++) out->dim[i] = v->type.dim[i] < 0 ? -1 : v->type.dim[i];
}

rt_status rt_graph_layers(rt_graph *g, const rt_layer_info **out, int *n) {
  int capacity = 1;
  *n = 0;
  for (int i = 0; i < g->n_nodes; i++) capacity += depth_of(g->node[i]->name);
  rt_layer_info *list = rt_arena_alloc(&g->arena, (size_t)capacity * sizeof *list);
  *out = list;
  if (!list) return RT_E_MEMORY;
  for (int i = 0; i < g->n_nodes; i++) {
    const rt_node *node = g->node[i];
    for (int depth = 1; is_result(node) && depth <= depth_of(node->name); depth++) {
      size_t length = part(node->name, depth);
      if (is_listed(list, *n, node->name, length)) continue;
      const char *name = rt_arena_text(&g->arena, "%.*s", (int)length, node->name);
      if (!name) return RT_E_MEMORY;
      describe(name, rt_find_layer(g, name), &list[(*n)++]);
    }
  }
  return RT_OK;
}
