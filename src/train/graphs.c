/* The graphs of a run, over one store: the training step, and the same network as it is evaluated. */
#include "base/alloc.h"
#include "pass/pass.h"
#include "train/network.h"
#include "train/train.h"

#include <stdio.h>
#include <string.h>

/* The model's logits from the input "x", marked. */
static rt_status build_model(const rt_trainer *t, rt_graph *g, rt_value **logits) {
  const rt_data_info *d = &t->info;
  rt_dim x[] = {rt_symbol(g, "batch"), d->channels, d->height, d->width};
  *logits = rt_model(g, t->model, rt_input(g, "x", RT_F32, 4, x), t->model_options);
  if (*logits && (*logits)->type.dim[1] != d->classes)
    return rt_fail(RT_E_SHAPE, "train: %s tells %lld classes apart, and %s has %lld", t->o.model,
                   (long long)(*logits)->type.dim[1], d->kind, (long long)d->classes);
  rt_mark_output(g, "logits", *logits);
  return rt_graph_status(g);
}

static rt_status forward(const rt_trainer *t, rt_graph **g) {
  rt_value *logits;
  char smoothing[64];
  rt_status s = build_model(t, *g, &logits);
  if (s != RT_OK) return s;
  rt_dim dim[] = {rt_symbol(*g, "batch"), t->info.classes};
  rt_value *target = rt_input(*g, "target", t->soft ? RT_F32 : RT_S64, t->soft ? 2 : 1, dim);
  snprintf(smoothing, sizeof smoothing, "label_smoothing=%.9g", t->o.label_smoothing);
  rt_mark_output(*g, "loss", rt_cross_entropy(*g, logits, target, smoothing));
  s = rt_graph_status(*g);
  if (s == RT_OK) s = rt_pass_fuse(g, NULL);
  if (s == RT_OK && t->o.precision == RT_PRECISION_BF16) s = rt_pass_cast(g, NULL, RT_BF16);
  return s;
}

rt_status rt_train_forward(const rt_trainer *t, rt_store *store, rt_graph **out) {
  rt_status s = rt_graph_new(store, out);
  if (s == RT_OK) s = forward(t, out);
  if (s == RT_OK) return RT_OK;
  rt_graph_free(*out);
  *out = NULL;
  return s;
}

static rt_status optimizer_text(const rt_trainer *t, rt_strbuf *text) {
  static const char *const name[] = {"sgd", "adamw", "muon"};
  const rt_train_settings *o = &t->o;
  rt_strbuf_add(text, "optimizer=%s weight_decay=%s decay=weights check=true", name[o->optimizer], o->weight_decay);
  rt_strbuf_add(text, " momentum=%.9g nesterov=%s", o->momentum, o->nesterov ? "true" : "false");
  if (o->optimizer == RT_OPTIMIZER_MUON) rt_strbuf_add(text, " rest=adamw rest_lr=0.05");
  if (o->clip > 0) rt_strbuf_add(text, " clip=%.9g", o->clip);
  if (o->ema > 0) rt_strbuf_add(text, " ema=%.9g", o->ema);
  if (o->accumulate > 1) rt_strbuf_add(text, " accumulate=true");
  rt_strbuf_add(text, " %s", o->optimizer_options);
  return text->failed ? RT_E_MEMORY : RT_OK;
}

static rt_status compile_training(rt_trainer *t) {
  rt_strbuf text = {0};
  rt_plan_options plan = {.kernels = (rt_kernels)t->o.kernels};
  rt_status s = rt_train_forward(t, t->store, &t->training);
  if (s == RT_OK) s = optimizer_text(t, &text);
  if (s == RT_OK) s = rt_pass_train(&t->training, "loss", text.text);
  if (s == RT_OK) s = rt_pass_layout(&t->training);
  if (s == RT_OK) s = rt_pass_prune(&t->training);
  if (s == RT_OK) s = rt_plan_new(t->training, &plan, &t->train_plan);
  rt_strbuf_release(&text);
  return s;
}

static rt_status compile_evaluation(rt_trainer *t) {
  rt_value *logits;
  rt_status s = rt_graph_new(t->store, &t->evaluation);
  if (s == RT_OK) s = build_model(t, t->evaluation, &logits);
  if (s != RT_OK) return s;
  rt_plan_options plan = {.kernels = (rt_kernels)t->o.kernels};
  return rt_compile_evaluation(&t->evaluation, t->o.ema > 0, t->o.precision == RT_PRECISION_BF16, &plan,
                               &t->evaluate_plan);
}

rt_status rt_train_build(rt_trainer *t) {
  rt_status s = rt_store_new(&t->store);
  if (s == RT_OK) s = compile_training(t);
  return s == RT_OK ? compile_evaluation(t) : s;
}

/* ---- weights ---- */

rt_status rt_train_start(rt_trainer *t) {
  rt_status s = rt_store_init(t->store, (uint64_t)rt_settings_number(t->o.init_seed));
  if (s != RT_OK || !*t->o.init) return s;
  rt_file *file;
  rt_load_options options = {.segments = RT_MODEL, .allow_partial = t->o.allow_partial};
  rt_load_report report;
  s = rt_file_open(t->o.init, &file);
  if (s == RT_OK) s = rt_store_load(t->store, file, &options, &report);
  rt_file_free(file);
  return s == RT_OK && *report.text ? rt_news_note(t, "%s", report.text) : s;
}

/* The moving averages under the names of what they are averages of: a store of their own. */
static rt_status averages(const rt_trainer *t, rt_store *to) {
  rt_graph *g;
  rt_value *logits;
  rt_status s = rt_graph_new(to, &g);
  if (s != RT_OK) return s;
  s = build_model(t, g, &logits);
  if (s == RT_OK) s = rt_store_allocate(to);
  char name[512];
  for (int i = 0; i < to->n && s == RT_OK; i++) {
    const rt_var *v = to->var[i];
    snprintf(name, sizeof name, "%s.ema", v->name);
    const rt_var *from = rt_store_find(t->store, name);
    if (!from) from = rt_store_find(t->store, v->name);
    if (from) s = rt_store_set(to, v->name, from->data, (size_t)rt_type_bytes(&v->type));
  }
  rt_graph_free(g);
  return s;
}

/* A JSON list of names; they may come from directories, so they are escaped. */
static void add_classes(rt_strbuf *text, const rt_data_info *d) {
  for (int64_t i = 0; i < d->classes; i++) {
    rt_strbuf_add(text, "%s\"", i ? ", " : "[");
    for (const unsigned char *c = (const unsigned char *)d->class_name[i]; *c; c++) {
      if (*c < 0x20)
        rt_strbuf_add(text, "\\u%04x", *c);
      else
        rt_strbuf_add(text, "%s%c", *c == '"' || *c == '\\' ? "\\" : "", *c);
    }
    rt_strbuf_add(text, "\"");
  }
  rt_strbuf_add(text, "]");
}

rt_status rt_train_save_model(rt_trainer *t, const char *file) {
  enum { CLASSES, MEAN, STD, INPUT, RESIZE, EPOCH, TEXTS };
  const rt_data_info *d = &t->info;
  rt_strbuf text[TEXTS] = {0};
  char path[RT_RUN_PATH];
  add_classes(&text[CLASSES], d);
  rt_add_numbers(&text[MEAN], d->mean, d->channels);
  rt_add_numbers(&text[STD], d->deviation, d->channels);
  rt_strbuf_add(&text[INPUT], "%lldx%lldx%lld", (long long)d->channels, (long long)d->height, (long long)d->width);
  rt_strbuf_add(&text[RESIZE], "%lld %s", (long long)(t->data->shorter ? t->data->shorter : d->height),
                t->data->filter == RT_FILTER_BICUBIC ? "bicubic" : "bilinear");
  rt_strbuf_add(&text[EPOCH], "%lld", (long long)t->state.epochs);
  rt_status s = RT_OK;
  for (int i = 0; i < TEXTS; i++)
    if (text[i].failed) s = RT_E_MEMORY;
  rt_pair pairs[] = {{"model", t->model},
                     {"options", t->model_options},
                     {"classes", text[CLASSES].text},
                     {"mean", text[MEAN].text},
                     {"std", text[STD].text},
                     {"input", text[INPUT].text},
                     {"resize", text[RESIZE].text},
                     {"data", d->kind},
                     {"epoch", text[EPOCH].text}};
  int n = (int)(sizeof pairs / sizeof *pairs);
  rt_store *averaged = NULL;
  if (s == RT_OK && t->o.ema > 0) {
    s = rt_store_new(&averaged);
    if (s == RT_OK) s = averages(t, averaged);
  }
  if (s == RT_OK)
    s = rt_store_save(averaged ? averaged : t->store, rt_run_path(&t->run, file, path), RT_MODEL, pairs, n);
  rt_store_free(averaged);
  for (int i = 0; i < TEXTS; i++) rt_strbuf_release(&text[i]);
  return s;
}
