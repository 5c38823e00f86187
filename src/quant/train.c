/* Training for int8: a run of rt_train from the file's weights, in the directory that the int8 file is called after, where it
 * goes on if it was stopped. Its best weights and their record are what is quantized then. */
#include "base/alloc.h"
#include "quant/quant.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PAIRS = 48 };

typedef struct pairs {
  rt_arena *arena;
  rt_pair pair[MOST_PAIRS];
  int n;
  bool failed;
} pairs;

static void add(pairs *p, const char *key, const char *text) {
  if (!text || p->n == MOST_PAIRS)
    p->failed = true;
  else if (*text)
    p->pair[p->n++] = (rt_pair){key, text};
}

static void add_number(pairs *p, const char *key, int64_t number) {
  add(p, key, rt_arena_text(p->arena, "%" PRId64, number));
}

static void add_numbers(pairs *p, const char *key, const float *v, int64_t n) {
  rt_strbuf text = {0};
  rt_add_numbers(&text, v, n);
  add(p, key, text.failed ? NULL : rt_arena_text(p->arena, "%s", text.text));
  rt_strbuf_release(&text);
}

static const char *options_text(const rt_quantizer *q, rt_arena *arena) {
  const rt_quantize_settings *o = &q->o;
  rt_strbuf text = {0};
  const struct {
    const char *key, *text;
  } all[] = {{"keep", o->keep}, {"schemes", o->schemes}, {"observers", o->observers}};
  rt_strbuf_add(&text, "target=%s observer=%s images=%" PRId64, rt_target_name((rt_target)o->target), o->observer,
                o->images);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    if (*all[i].text) rt_strbuf_add(&text, " %s=%s", all[i].key, all[i].text);
  if (*o->quantize_options) rt_strbuf_add(&text, " %s", o->quantize_options);
  const char *copy = text.failed ? NULL : rt_arena_text(arena, "%s", text.text);
  rt_strbuf_release(&text);
  return copy;
}

/* OUT without its ending. */
static const char *directory(const rt_quantizer *q, rt_arena *arena) {
  const char *slash = strrchr(q->o.out, '/'), *dot = strrchr(q->o.out, '.');
  bool ends = dot && dot != q->o.out && (!slash || dot > slash + 1);
  return rt_arena_text(arena, "%.*s", ends ? (int)(dot - q->o.out) : (int)strlen(q->o.out), q->o.out);
}

static void collect(const rt_quantizer *q, pairs *p, const char *out) {
  const rt_quantize_settings *o = &q->o;
  const rt_network_info *i = &q->network->info;
  char config[RT_RUN_PATH];
  bool graph = q->network->input != NULL;
  add(p, "model", graph ? o->model : rt_arena_text(p->arena, "%s%s%s", i->model, *i->options ? ":" : "", i->options));
  if (!graph) add(p, "init", o->model);
  if (i->mean) add_numbers(p, "mean", i->mean, i->channels);
  if (i->mean) add_numbers(p, "std", i->deviation, i->channels);
  add(p, "data", o->data);
  add(p, "data_options", o->data_options);
  add(p, "quantize", "qat");
  add(p, "quantize_options", options_text(q, p->arena));
  add_number(p, "seed", o->seed);
  if (o->threads) add_number(p, "threads", o->threads);
  for (int k = 0; k < q->n_training; k++) add(p, q->training[k].key, q->training[k].text);
  add(p, "out", out);
  snprintf(config, sizeof config, "%s/config.json", out);
  if (access(config, F_OK) == 0) add(p, "resume", "true");
}

static bool listen(void *context, const rt_news *news) {
  const rt_quantizer *q = context;
  return !q->listen || q->listen(q->context, NULL, news);
}

/* What is quantized from now on; the network that was given stays, to be compared with. */
static rt_status take(rt_quantizer *q, const char *out, const char *model) {
  const char *best = rt_arena_text(&q->arena, "%s/model.best.%s", out, rt_is_onnx(model) ? "onnx" : "pth");
  q->o.record = rt_arena_text(&q->arena, "%s/" RT_QAT_RECORD, out);
  if (!best || !q->o.record) return RT_E_MEMORY;
  rt_status s = rt_float_network(q->network, q->folded, false, &q->original);
  if (s != RT_OK) return s;
  rt_graph_free(q->folded);
  rt_store_free(q->folded_store);
  q->given = q->network;
  q->network = NULL;
  q->folded = NULL;
  q->folded_store = NULL;
  return rt_quantize_open(q, best);
}

rt_status rt_quantize_train(rt_quantizer *q) {
  pairs p = {.arena = &q->arena};
  rt_train_report report;
  const char *out = directory(q, &q->arena);
  if (!out) return RT_E_MEMORY;
  collect(q, &p, out);
  if (p.failed) return RT_E_MEMORY;
  rt_status s = rt_train(p.pair, p.n, listen, q, &report);
  q->interrupted = report.interrupted;
  return s == RT_OK && !q->interrupted ? take(q, out, report.model) : s;
}
