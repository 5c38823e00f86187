#include "base/alloc.h"
#include "graph/graph.h"

#include <inttypes.h>
#include <stdio.h>

const char *rt_dim_text(const rt_graph *g, rt_dim dim, char *buffer, size_t size) {
  if (dim < 0 && g && -dim <= g->n_symbols)
    snprintf(buffer, size, "%s", g->symbol[-dim - 1]);
  else
    snprintf(buffer, size, "%" PRId64, dim);
  return buffer;
}

const char *rt_type_text(const rt_graph *g, const rt_type *t, char *buffer, size_t size) {
  char dim[64];
  size_t n = (size_t)snprintf(buffer, size, "%s[", rt_dtype_name(t->dtype));
  for (int i = 0; i < t->rank && n < size; i++)
    n += (size_t)snprintf(buffer + n, size - n, "%s%s", i ? ", " : "", rt_dim_text(g, t->dim[i], dim, sizeof dim));
  if (n < size) snprintf(buffer + n, size - n, "]%s", t->layout == RT_CHANNELS_LAST ? "nhwc" : "");
  return buffer;
}

/* ---- text: "%12 = conv2d layer1.0.conv1(%9, layer1.0.conv1.weight) padding=1 : f32[batch, 64, 32, 32]" ---- */

static void add_reference(rt_strbuf *b, const rt_value *v) {
  if (!v)
    rt_strbuf_add(b, "-");
  else if (v->kind == RT_VALUE_NODE)
    rt_strbuf_add(b, "%%%d", v->id);
  else
    rt_strbuf_add(b, "%s", v->name);
}

static void add_node(rt_strbuf *b, const rt_graph *g, const rt_node *node) {
  char type[RT_TYPE_TEXT];
  rt_strbuf options = {0};
  for (int i = 0; i < node->n_out; i++) rt_strbuf_add(b, "%s%%%d", i ? ", " : "", node->out[i]->id);
  rt_strbuf_add(b, " = %s %s(", node->op->name, node->name);
  for (int i = 0; i < node->n_in; i++) {
    if (i) rt_strbuf_add(b, ", ");
    add_reference(b, node->in[i]);
  }
  if (node->op->options) rt_options_print(node->op->options, node->attr, &options);
  rt_strbuf_add(b, ")%s%s : ", options.length ? " " : "", options.length ? options.text : "");
  for (int i = 0; i < node->n_out; i++)
    rt_strbuf_add(b, "%s%s", i ? ", " : "", rt_type_text(g, &node->out[i]->type, type, sizeof type));
  rt_strbuf_add(b, "\n");
  b->failed |= options.failed;
  rt_strbuf_release(&options);
}

static rt_status finish(rt_strbuf *b, char **out) {
  if (b->failed) {
    rt_strbuf_release(b);
    return RT_E_MEMORY;
  }
  *out = b->text;
  return RT_OK;
}

rt_status rt_graph_text(const rt_graph *g, char **out) {
  char type[RT_TYPE_TEXT];
  rt_strbuf b = {0};
  *out = NULL;
  rt_strbuf_add(&b, "%s", "");
  for (int i = 0; i < g->n_values; i++)
    if (g->value[i]->kind == RT_VALUE_INPUT)
      rt_strbuf_add(&b, "input %s : %s\n", g->value[i]->name, rt_type_text(g, &g->value[i]->type, type, sizeof type));
  for (int i = 0; i < g->n_nodes; i++) add_node(&b, g, g->node[i]);
  for (int i = 0; i < g->n_outputs; i++) {
    rt_strbuf_add(&b, "output %s = ", g->output[i].name);
    add_reference(&b, g->output[i].value);
    rt_strbuf_add(&b, "\n");
  }
  return finish(&b, out);
}

/* Text for a DOT string: quotes and backslashes escaped. */
static void add_quoted(rt_strbuf *b, const char *text) {
  for (; *text; text++) rt_strbuf_add(b, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
}

rt_status rt_graph_dot(const rt_graph *g, char **out) {
  char type[RT_TYPE_TEXT];
  rt_strbuf b = {0};
  *out = NULL;
  rt_strbuf_add(&b, "digraph retort {\n  node [shape=box, fontname=\"sans-serif\", fontsize=10];\n");
  for (int i = 0; i < g->n_values; i++) {
    const rt_value *v = g->value[i];
    if (v->kind == RT_VALUE_NODE || v->kind == RT_VALUE_CONSTANT) continue;
    rt_strbuf_add(&b, "  v%d [shape=%s, label=\"", v->id, v->kind == RT_VALUE_INPUT ? "ellipse" : "note");
    add_quoted(&b, v->name);
    rt_strbuf_add(&b, "\\n%s\"];\n", rt_type_text(g, &v->type, type, sizeof type));
  }
  for (int i = 0; i < g->n_nodes; i++) {
    const rt_node *node = g->node[i];
    rt_strbuf_add(&b, "  n%d [label=\"%s\\n", node->id, node->op->name);
    add_quoted(&b, node->name);
    rt_strbuf_add(&b, "\"];\n");
    for (int j = 0; j < node->n_in; j++) {
      const rt_value *v = node->in[j];
      if (!v || v->kind == RT_VALUE_CONSTANT) continue;
      if (v->kind == RT_VALUE_NODE)
        rt_strbuf_add(&b, "  n%d -> n%d [fontsize=8, label=\"%s\"];\n", v->node->id, node->id,
                      rt_type_text(g, &v->type, type, sizeof type));
      else
        rt_strbuf_add(&b, "  v%d -> n%d;\n", v->id, node->id);
    }
  }
  for (int i = 0; i < g->n_outputs; i++) {
    const rt_value *v = g->output[i].value;
    rt_strbuf_add(&b, "  o%d [shape=ellipse, style=bold, label=\"", i);
    add_quoted(&b, g->output[i].name);
    rt_strbuf_add(&b, "\"];\n  %c%d -> o%d;\n", v->kind == RT_VALUE_NODE ? 'n' : 'v',
                  v->kind == RT_VALUE_NODE ? v->node->id : v->id, i);
  }
  rt_strbuf_add(&b, "}\n");
  return finish(&b, out);
}

void rt_text_free(char *text) { rt_free(text); }
