/* From messages to names and an order: everything that a hostile file may get wrong about its graph is found here. */
#include "onnx/model.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdlib.h>

enum { NAME_MOST = 1000, OPSET_LEAST = 7, OPSET_MOST = 28, NODES_MOST = 1 << 20 };

static const rt_onnx_row *const rows[] = {
#define ROW(name) &rt_onnx_row_##name,
#include "onnx/onnx.def"
#undef ROW
};

const rt_onnx_row *rt_onnx_row_of(const rt_onnx_node *node) {
  if (!node->op_type || (node->domain && *node->domain && strcmp(node->domain, "ai.onnx") != 0)) return NULL;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i]->name && strcmp(rows[i]->name, node->op_type) == 0) return rows[i];
  return NULL;
}

const rt_onnx_row *rt_onnx_row_for(const rt_op *op) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i]->op == op) return rows[i];
  return NULL;
}

const char *rt_onnx_node_name(const rt_onnx_node *node) {
  if (node->name && *node->name) return node->name;
  return node->n_output ? node->output[0] : "unnamed";
}

/* ---- what is a text, what is a version ---- */

static bool is_name(const char *text) { return !text || (strlen(text) <= NAME_MOST && rt_printable(text, false)); }

static rt_status check_texts(const rt_onnx *m) {
  for (int i = 0; i < m->n_nodes; i++) {
    const rt_onnx_node *n = m->graph->node[i];
    bool good = is_name(n->name) && is_name(n->op_type) && is_name(n->domain);
    for (size_t k = 0; k < n->n_input; k++) good = good && is_name(n->input[k]);
    for (size_t k = 0; k < n->n_output; k++) good = good && is_name(n->output[k]);
    for (size_t k = 0; k < n->n_attribute; k++) good = good && is_name(n->attribute[k]->name);
    if (!good) return rt_file_damaged(m->file, "node %d has a name that is too long or no text", i);
    if (!n->op_type || !*n->op_type) return rt_file_damaged(m->file, "node %d has no op", i);
  }
  for (size_t i = 0; i < m->graph->n_input; i++)
    if (!m->graph->input[i]->name || !is_name(m->graph->input[i]->name))
      return rt_file_damaged(m->file, "input %zu has no name that is a text", i);
  for (size_t i = 0; i < m->graph->n_output; i++)
    if (!m->graph->output[i]->name || !is_name(m->graph->output[i]->name))
      return rt_file_damaged(m->file, "output %zu has no name that is a text", i);
  return RT_OK;
}

static rt_status find_opset(rt_onnx *m) {
  m->opset = 0;
  for (size_t i = 0; i < m->model->n_opset_import; i++) {
    const Rt__Onnx__Opset *o = m->model->opset_import[i];
    if (!o->domain || !*o->domain || strcmp(o->domain, "ai.onnx") == 0) m->opset = o->version;
  }
  if (m->opset >= OPSET_LEAST && m->opset <= OPSET_MOST) return RT_OK;
  return rt_fail_in(rt_fail(RT_E_UNSUPPORTED, "it is written in opset %" PRId64 "; %d to %d are read", m->opset,
                            OPSET_LEAST, OPSET_MOST),
                    "%s", m->file->path);
}

/* ---- names ---- */

typedef struct mention {
  const char *text;
  int entry, input, node;
} mention;

static int by_text(const void *a, const void *b) {
  return strcmp(((const mention *)a)->text, ((const mention *)b)->text);
}

static int find_name(const rt_onnx *m, const char *text) {
  int low = 0, high = m->n_names;
  while (low < high) {
    int middle = low + (high - low) / 2, order = strcmp(text, m->name[middle].text);
    if (order == 0) return middle;
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return -1;
}

/* One name for all that mention it; what gives it a value twice is an error. An initializer may also be an input, which is
 * then its default. */
static rt_status join(rt_onnx *m, const mention *list, int n) {
  for (int i = 0; i < n; i++) {
    const mention *f = &list[i];
    rt_onnx_name *last = m->n_names ? &m->name[m->n_names - 1] : NULL;
    if (!last || strcmp(last->text, f->text) != 0) {
      m->name[m->n_names++] = (rt_onnx_name){f->text, f->entry, f->input, f->node, 0, false};
      continue;
    }
    bool pair = (last->entry >= 0 && last->input < 0 && f->input >= 0) ||
                (last->input >= 0 && last->entry < 0 && f->entry >= 0);
    bool twice = !pair || last->node >= 0 || f->node >= 0;
    if (twice) return rt_file_damaged(m->file, "two values are called %.200s", f->text);
    if (f->entry >= 0) last->entry = f->entry;
    if (f->input >= 0) last->input = f->input;
  }
  return RT_OK;
}

static rt_status collect_names(rt_onnx *m) {
  const rt_onnx_graph *g = m->graph;
  size_t most = g->n_initializer + g->n_input + 1;
  for (int i = 0; i < m->n_nodes; i++) most += g->node[i]->n_output;
  mention *list = rt_alloc_array(most, sizeof *list);
  m->name = rt_arena_alloc(&m->arena, most * sizeof *m->name);
  int n = 0;
  rt_status s = list && m->name && most < INT32_MAX ? RT_OK : RT_E_MEMORY;
  for (size_t i = 0; s == RT_OK && i < g->n_initializer; i++)
    list[n++] = (mention){g->initializer[i]->name, (int)i, -1, -1};
  for (size_t i = 0; s == RT_OK && i < g->n_input; i++) list[n++] = (mention){g->input[i]->name, -1, (int)i, -1};
  for (int i = 0; s == RT_OK && i < m->n_nodes; i++)
    for (size_t k = 0; k < g->node[i]->n_output; k++)
      if (*g->node[i]->output[k]) list[n++] = (mention){g->node[i]->output[k], -1, -1, i};
  if (s == RT_OK) {
    qsort(list, (size_t)n, sizeof *list, by_text);
    s = join(m, list, n);
  }
  rt_free(list);
  return s;
}

static int *ints(rt_onnx *m, size_t n) { return rt_arena_alloc(&m->arena, (n + 1) * sizeof(int)); }

static rt_status resolve_node(rt_onnx *m, int i) {
  const rt_onnx_node *node = m->graph->node[i];
  m->in[i] = ints(m, node->n_input);
  m->out[i] = ints(m, node->n_output);
  if (!m->in[i] || !m->out[i]) return RT_E_MEMORY;
  m->row[i] = rt_onnx_row_of(node);
  for (size_t k = 0; k < node->n_input; k++) {
    m->in[i][k] = *node->input[k] ? find_name(m, node->input[k]) : -1;
    if (m->in[i][k] >= 0)
      m->name[m->in[i][k]].uses++;
    else if (*node->input[k])
      return rt_file_damaged(m->file, "node %.200s (%.60s) reads %.200s, which nothing makes", rt_onnx_node_name(node),
                             node->op_type, node->input[k]);
  }
  for (size_t k = 0; k < node->n_output; k++) m->out[i][k] = *node->output[k] ? find_name(m, node->output[k]) : -1;
  return RT_OK;
}

static rt_status resolve(rt_onnx *m) {
  const rt_onnx_graph *g = m->graph;
  size_t n = (size_t)m->n_nodes + 1;
  m->in = rt_arena_alloc(&m->arena, n * sizeof *m->in);
  m->out = rt_arena_alloc(&m->arena, n * sizeof *m->out);
  m->row = rt_arena_alloc(&m->arena, n * sizeof *m->row);
  m->graph_in = ints(m, g->n_input);
  m->graph_out = ints(m, g->n_output);
  if (!m->in || !m->out || !m->row || !m->graph_in || !m->graph_out) return RT_E_MEMORY;
  for (int i = 0; i < m->n_nodes; i++) {
    rt_status s = resolve_node(m, i);
    if (s != RT_OK) return s;
  }
  for (size_t i = 0; i < g->n_input; i++) {
    int name = find_name(m, g->input[i]->name);
    if (m->name[name].entry < 0) m->graph_in[m->n_graph_in++] = name;
  }
  for (size_t i = 0; i < g->n_output; i++) {
    int name = find_name(m, g->output[i]->name);
    if (name < 0) return rt_file_damaged(m->file, "its output %.200s is made by nothing", g->output[i]->name);
    m->name[name].uses++;
    m->graph_out[m->n_graph_out++] = name;
  }
  return m->n_graph_out ? RT_OK : rt_file_damaged(m->file, "its graph has no output");
}

/* ---- order ---- */

/* Kahn's: a node is ready when all that it reads is made. `readers` lists, node by node, who reads what it makes. */
static rt_status sort_nodes(rt_onnx *m) {
  int n = m->n_nodes, done = 0, ready = 0;
  int *waits = ints(m, (size_t)n), *first = ints(m, (size_t)n + 1), *readers;
  m->order = ints(m, (size_t)n);
  if (!waits || !first || !m->order) return RT_E_MEMORY;
  for (int i = 0; i < n; i++)
    for (size_t k = 0; k < m->graph->node[i]->n_input; k++) {
      int from = m->in[i][k] >= 0 ? m->name[m->in[i][k]].node : -1;
      if (from >= 0) waits[i]++, first[from + 1]++;
    }
  for (int i = 0; i < n; i++) first[i + 1] += first[i];
  if (!(readers = ints(m, (size_t)first[n]))) return RT_E_MEMORY;
  int *at = ints(m, (size_t)n);
  if (!at) return RT_E_MEMORY;
  memcpy(at, first, (size_t)n * sizeof *at);
  for (int i = 0; i < n; i++)
    for (size_t k = 0; k < m->graph->node[i]->n_input; k++) {
      int from = m->in[i][k] >= 0 ? m->name[m->in[i][k]].node : -1;
      if (from >= 0) readers[at[from]++] = i;
    }
  for (int i = 0; i < n; i++)
    if (!waits[i]) m->order[ready++] = i;
  for (; done < ready; done++)
    for (int r = first[m->order[done]]; r < first[m->order[done] + 1]; r++)
      if (--waits[readers[r]] == 0) m->order[ready++] = readers[r];
  for (int i = 0; i < n; i++)
    if (waits[i] > 0)
      return rt_file_damaged(m->file, "its nodes wait for each other in a circle, of which %.200s (%.60s) is part",
                             rt_onnx_node_name(m->graph->node[i]), m->graph->node[i]->op_type);
  return RT_OK;
}

/* ---- door ---- */

rt_status rt_onnx_open(rt_file *file, rt_onnx **out) {
  *out = NULL;
  const rt_onnx_model *model = rt_onnx_model_of(file);
  if (!model) return rt_file_damaged(file, "it is no ONNX model");
  rt_onnx *m = rt_alloc(sizeof *m);
  if (!m) return RT_E_MEMORY;
  m->file = file;
  m->model = model;
  m->graph = model->graph;
  rt_status s = m->graph->n_node <= NODES_MOST ? RT_OK : rt_file_damaged(file, "it has more than %d nodes", NODES_MOST);
  m->n_nodes = s == RT_OK ? (int)m->graph->n_node : 0;
  if (s == RT_OK) s = check_texts(m);
  if (s == RT_OK) s = find_opset(m);
  if (s == RT_OK) s = collect_names(m);
  if (s == RT_OK) s = resolve(m);
  if (s == RT_OK) s = sort_nodes(m);
  if (s == RT_OK)
    *out = m;
  else
    rt_onnx_free(m);
  return s;
}

int64_t rt_onnx_node_count(const rt_file *file) {
  const rt_onnx_model *model = rt_onnx_model_of(file);
  return model ? (int64_t)model->graph->n_node : 0;
}

const char *rt_onnx_input_name(const rt_onnx *m) { return m->n_graph_in ? m->name[m->graph_in[0]].text : NULL; }
const char *rt_onnx_output_name(const rt_onnx *m) { return m->name[m->graph_out[0]].text; }

void rt_onnx_free(rt_onnx *m) {
  if (!m) return;
  rt_arena_release(&m->arena);
  rt_free(m);
}
