#include "base/alloc.h"
#include "onnx/onnx.h"
#include "quant/quant.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_METADATA = 16 };

typedef struct metadata {
  rt_pair pair[MOST_METADATA];
  int n;
  bool failed;
} metadata;

static void add(metadata *m, const char *key, const char *text) {
  if (!text)
    m->failed = true;
  else if (*text && m->n < MOST_METADATA)
    m->pair[m->n++] = (rt_pair){key, text};
}

static const char *numbers(rt_quantizer *q, const float *v, int64_t n) {
  rt_strbuf text = {0};
  if (v) rt_add_numbers(&text, v, n);
  const char *copy = text.failed ? NULL : rt_arena_text(&q->arena, "%s", text.text ? text.text : "");
  rt_strbuf_release(&text);
  return copy;
}

static const char *class_names(rt_quantizer *q) {
  const rt_network_info *i = &q->network->info;
  if (!i->class_name) return "";
  cJSON *list = cJSON_CreateStringArray(i->class_name, (int)i->classes);
  char *text = list ? cJSON_PrintUnformatted(list) : NULL;
  const char *copy = text ? rt_arena_text(&q->arena, "%s", text) : NULL;
  cJSON_free(text);
  cJSON_Delete(list);
  return copy;
}

static const char *accuracy(rt_quantizer *q) {
  if (!q->after.images) return "";
  return rt_arena_text(&q->arena,
                       "{\"data\":\"%s\",\"images\":%" PRId64 ",\"correct\":%" PRId64 ",\"correct_float\":%" PRId64 "}",
                       q->o.data, q->after.images, q->after.correct, q->before.correct);
}

/* Images for rt_network_verify, and what the network makes of them here. */
static rt_status add_vectors(rt_quantizer *q, rt_network *int8) {
  const float *found;
  if (!q->vectors) return RT_OK;
  rt_status s = rt_network_run(int8, q->image, q->vectors, &found);
  if (s == RT_OK) s = rt_vectors_keep(int8->store, &q->network->info, q->vectors, q->image, found);
  return s;
}

static rt_status export_graph(const rt_quantizer *q, const metadata *m) {
  rt_store *store = NULL;
  rt_graph *graph = NULL;
  rt_onnx_write how = {.input = q->network->input ? q->network->input : "x",
                       .output = q->network->output ? q->network->output : "logits",
                       .metadata = m->pair,
                       .n_metadata = m->n};
  rt_status s = rt_quantize_lower(q, &q->record, &store, &graph);
  if (s == RT_OK) s = rt_pass_prune(&graph);
  if (s == RT_OK) s = rt_onnx_export_graph(graph, q->o.out, &how);
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}

/* As QDQ its biases are whole numbers: what is expected of its images is what the file itself says, once it is written. */
static rt_status write_onnx(rt_quantizer *q, metadata *m) {
  rt_network *back;
  rt_status s = export_graph(q, m);
  if (s != RT_OK || !q->vectors) return s;
  s = rt_network_open(q->o.out, NULL, &back);
  if (s != RT_OK) return s;
  s = add_vectors(q, back);
  if (s == RT_OK) s = rt_vectors_metadata(back->store, &q->arena, m->pair, &m->n);
  rt_network_free(back);
  return s == RT_OK ? export_graph(q, m) : s;
}

rt_status rt_quantize_write(rt_quantizer *q, rt_network *int8) {
  const rt_network_info *i = &q->network->info;
  metadata m = {0};
  char *record = NULL;
  bool onnx = rt_is_onnx(q->o.out);
  rt_status s = onnx ? RT_OK : add_vectors(q, int8);
  if (s == RT_OK) s = rt_record_print(&q->record, &record);
  if (s != RT_OK) return s;
  add(&m, "model", i->model);
  add(&m, "options", i->options);
  add(&m, "input", rt_arena_text(&q->arena, "%" PRId64 "x%" PRId64 "x%" PRId64, i->channels, i->height, i->width));
  add(&m, "mean", numbers(q, i->mean, i->channels));
  add(&m, "std", numbers(q, i->deviation, i->channels));
  add(&m, "classes", class_names(q));
  add(&m, "resize", rt_arena_text(&q->arena, "%" PRId64 " %s", i->shorter, i->filter));
  add(&m, "accuracy", accuracy(q));
  add(&m, "quantization", record);
  if (m.failed)
    s = RT_E_MEMORY;
  else if (onnx)
    s = write_onnx(q, &m);
  else
    s = rt_store_save(int8->store, q->o.out, RT_MODEL, m.pair, m.n);
  rt_free(record);
  return s;
}

/* ---- the report ---- */

static void add_score(cJSON *o, const char *name, const rt_score *s) {
  if (!s->images) return;
  cJSON *score = cJSON_AddObjectToObject(o, name);
  cJSON_AddNumberToObject(score, "images", (double)s->images);
  cJSON_AddNumberToObject(score, "correct", (double)s->correct);
  cJSON_AddNumberToObject(score, "top1", s->top1);
}

static void add_cost(cJSON *o, const rt_layer_cost *c, bool product) {
  if (product) cJSON_AddNumberToObject(o, "weight_sqnr", c->weight_sqnr);
  cJSON_AddNumberToObject(o, "output_sqnr", c->output_sqnr);
  if (product) cJSON_AddNumberToObject(o, "alone_sqnr", c->alone_sqnr);
  cJSON_AddNumberToObject(o, "steps", c->steps);
  cJSON_AddNumberToObject(o, "float_ms", c->float_seconds * 1e3);
  cJSON_AddNumberToObject(o, "int8_ms", c->int8_seconds * 1e3);
}

/* The record's layers, as the record prints them, and what was measured of each. */
static rt_status add_layers(const rt_quantizer *q, cJSON *o) {
  char *text;
  int int8 = 0, products = 0;
  rt_status s = rt_record_print(&q->record, &text);
  if (s != RT_OK) return s;
  cJSON *record = cJSON_Parse(text), *nodes = cJSON_DetachItemFromObject(record, "nodes");
  rt_free(text);
  for (int i = 0; i < q->record.n; i++) {
    const rt_record_node *n = &q->record.node[i];
    int8 += n->form == RT_FORM_INT8;
    products += strcmp(n->op, "input") != 0;
    if (q->cost && n->form == RT_FORM_INT8)
      add_cost(cJSON_GetArrayItem(nodes, i), &q->cost[i], rt_record_is_product(n));
  }
  cJSON_AddNumberToObject(o, "nodes", products);
  cJSON_AddNumberToObject(o, "int8", int8);
  cJSON_AddItemToObject(o, "layers", nodes);
  cJSON_Delete(record);
  return RT_OK;
}

rt_status rt_quantize_report_json(const rt_quantizer *q, char **out) {
  struct stat now;
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "file", q->o.out);
  cJSON_AddStringToObject(o, "method", rt_method_name(q->record.method));
  cJSON_AddStringToObject(o, "target", rt_target_name(q->record.target));
  cJSON_AddNumberToObject(o, "images", (double)q->record.images);
  add_score(o, "before", &q->before);
  add_score(o, "after", &q->after);
  if (q->after.images) cJSON_AddNumberToObject(o, "agree", (double)q->agree);
  if (q->beside_twin.images) cJSON_AddNumberToObject(o, "agree_twin", (double)q->beside_twin.agree);
  if (stat(q->o.model, &now) == 0) cJSON_AddNumberToObject(o, "bytes_before", (double)now.st_size);
  if (stat(q->o.out, &now) == 0) cJSON_AddNumberToObject(o, "bytes", (double)now.st_size);
  rt_status s = add_layers(q, o);
  char *text = s == RT_OK ? cJSON_PrintUnformatted(o) : NULL;
  cJSON_Delete(o);
  *out = text ? rt_copy_text(text) : NULL;
  cJSON_free(text);
  return *out ? RT_OK : RT_E_MEMORY;
}
