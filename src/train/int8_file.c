/* The file of an int8 network: what `record` describes, with its record, its accuracy, and images to verify it by. */
#include "base/alloc.h"
#include "onnx/onnx.h"
#include "pass/pass.h"
#include "train/network.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MOST_METADATA = 16 };

typedef struct metadata {
  rt_arena arena;
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

static const char *numbers(metadata *m, const float *v, int64_t n) {
  rt_strbuf text = {0};
  if (v) rt_add_numbers(&text, v, n);
  const char *copy = text.failed ? NULL : rt_arena_text(&m->arena, "%s", text.text ? text.text : "");
  rt_strbuf_release(&text);
  return copy;
}

static const char *class_names(metadata *m, const rt_network_info *i) {
  if (!i->class_name) return "";
  cJSON *list = cJSON_CreateStringArray(i->class_name, (int)i->classes);
  char *text = list ? cJSON_PrintUnformatted(list) : NULL;
  const char *copy = text ? rt_arena_text(&m->arena, "%s", text) : NULL;
  cJSON_free(text);
  cJSON_Delete(list);
  return copy;
}

static const char *accuracy(metadata *m, const rt_int8_file *f) {
  if (!f->int8.images) return "";
  return rt_arena_text(&m->arena,
                       "{\"data\":\"%s\",\"images\":%" PRId64 ",\"correct\":%" PRId64 ",\"correct_float\":%" PRId64 "}",
                       f->data, f->int8.images, f->int8.correct, f->floating.correct);
}

/* Images for rt_network_verify, and what the network makes of them here. */
static rt_status add_vectors(const rt_int8_file *f, rt_network *network) {
  const float *found;
  if (!f->vectors) return RT_OK;
  rt_status s = rt_network_run(network, f->image, f->vectors, &found);
  return s == RT_OK ? rt_vectors_keep(network->store, &f->of->info, f->vectors, f->image, found) : s;
}

static rt_status export_graph(const rt_int8_file *f, const char *out, const metadata *m) {
  rt_store *store = NULL;
  rt_graph *graph = NULL;
  rt_onnx_write how = {.input = f->of->input ? f->of->input : "x",
                       .output = f->of->output ? f->of->output : "logits",
                       .metadata = m->pair,
                       .n_metadata = m->n};
  rt_status s = rt_record_build(f->record, f->folded, &store, &graph);
  if (s == RT_OK) s = rt_pass_prune(&graph);
  if (s == RT_OK) s = rt_onnx_export_graph(graph, out, &how);
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}

/* As QDQ its biases are whole numbers: what is expected of its images is what the file itself says, once it is written. */
static rt_status write_onnx(const rt_int8_file *f, const char *out, metadata *m) {
  rt_network *back;
  rt_status s = export_graph(f, out, m);
  if (s != RT_OK || !f->vectors) return s;
  s = rt_network_open(out, NULL, &back);
  if (s != RT_OK) return s;
  s = add_vectors(f, back);
  if (s == RT_OK) s = rt_vectors_metadata(back->store, &m->arena, m->pair, &m->n);
  rt_network_free(back);
  return s == RT_OK ? export_graph(f, out, m) : s;
}

static void describe(metadata *m, const rt_int8_file *f, const char *record) {
  const rt_network_info *i = &f->of->info;
  add(m, "model", i->model);
  add(m, "options", i->options);
  add(m, "input", rt_arena_text(&m->arena, "%" PRId64 "x%" PRId64 "x%" PRId64, i->channels, i->height, i->width));
  add(m, "mean", numbers(m, i->mean, i->channels));
  add(m, "std", numbers(m, i->deviation, i->channels));
  add(m, "classes", class_names(m, i));
  add(m, "resize", rt_arena_text(&m->arena, "%" PRId64 " %s", i->shorter, i->filter));
  add(m, "accuracy", accuracy(m, f));
  add(m, "quantization", record);
}

rt_status rt_int8_write(const rt_int8_file *f, rt_network *network, const char *out) {
  metadata m = {.n = 0};
  char *record = NULL;
  bool onnx = rt_is_onnx(out);
  rt_status s = onnx ? RT_OK : add_vectors(f, network);
  if (s == RT_OK) s = rt_record_print(f->record, &record);
  if (s != RT_OK) return s;
  describe(&m, f, record);
  if (m.failed)
    s = RT_E_MEMORY;
  else if (onnx)
    s = write_onnx(f, out, &m);
  else
    s = rt_store_save(network->store, out, RT_MODEL, m.pair, m.n);
  rt_free(record);
  rt_arena_release(&m.arena);
  return s;
}
