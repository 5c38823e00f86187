/* The graphs of a run, over one store: the training step, and the same network as it is evaluated. */
#include "base/alloc.h"
#include "pass/pass.h"
#include "train/network.h"
#include "train/train.h"

#include <stdio.h>
#include <string.h>

rt_status rt_train_model(const rt_trainer *t, rt_graph *g, rt_value **logits) {
  const rt_data_info *d = &t->info;
  if (t->student) return rt_student_build(t, g, logits);
  rt_dim x[] = {rt_symbol(g, "batch"), d->channels, d->height, d->width};
  *logits = rt_model(g, t->model, rt_input(g, "x", RT_F32, 4, x), t->model_options);
  if (*logits && (*logits)->type.dim[1] != d->classes)
    return rt_fail(RT_E_SHAPE, "train: %s tells %lld classes apart, and %s has %lld", t->o.model,
                   (long long)(*logits)->type.dim[1], d->kind, (long long)d->classes);
  rt_mark_output(g, "logits", *logits);
  return rt_graph_status(g);
}

/* ---- the training step ---- */

rt_status rt_train_inline(const rt_trainer *t, int network, rt_graph *own, rt_graph *g, rt_value **logits,
                          rt_layer *taps) {
  rt_status s = rt_taps_mark(t, network, own);
  if (s == RT_OK) s = rt_pass_fuse(&own, NULL);
  if (s == RT_OK && t->o.quantize && network == RT_STUDENT) s = rt_qat_insert(t, &own);
  if (s == RT_OK && t->o.precision == RT_PRECISION_BF16) s = rt_pass_cast(&own, NULL, RT_BF16);
  rt_value **map = s == RT_OK ? rt_graph_new_map(g, own) : NULL;
  if (s == RT_OK) s = map ? rt_graph_inline(g, own, "", map) : RT_E_MEMORY;
  if (s == RT_OK) {
    *logits = map[rt_find(own, "logits")->id];
    rt_taps_take(t, network, own, map, taps);
  }
  rt_graph_free(own);
  return s == RT_OK ? rt_graph_status(g) : s;
}

static rt_status inline_student(const rt_trainer *t, rt_graph *g, rt_value **logits, rt_layer *taps) {
  rt_graph *own;
  rt_status s = rt_graph_new(g->store, &own);
  if (s != RT_OK) return s;
  s = rt_train_model(t, own, logits);
  if (s == RT_OK)
    s = rt_train_inline(t, RT_STUDENT, own, g, logits, taps);
  else
    rt_graph_free(own);
  if (s == RT_OK) rt_mark_output(g, "logits", *logits);
  return s == RT_OK ? rt_graph_status(g) : s;
}

/* Teachers come first: what they keep in memory is gone before the student keeps anything for its gradients. */
static rt_status forward(const rt_trainer *t, rt_graph **g) {
  rt_value *logits, *teacher[RT_MOST_TEACHERS] = {0};
  rt_layer taps[RT_MOST_TAPS];
  const rt_data_info *d = &t->info;
  rt_dim x[] = {rt_symbol(*g, "batch"), d->channels, d->height, d->width}, target[] = {x[0], d->classes};
  rt_value *image = rt_input(*g, "x", RT_F32, 4, x);
  rt_status s = rt_graph_status(*g);
  for (int k = 0; k < t->objective.teachers && s == RT_OK; k++)
    s = t->fed.cache && rt_teacher_runs(t, k) ? rt_fed_inline(t, k, *g, &teacher[k], taps)
                                              : rt_teacher_inline(t, k, *g, image, &teacher[k], taps);
  if (s == RT_OK) s = inline_student(t, *g, &logits, taps);
  if (s != RT_OK) return s;
  rt_value *labels = rt_input(*g, "target", t->soft ? RT_F32 : RT_S64, t->soft ? 2 : 1, target);
  rt_value *loss = rt_objective_build(t, *g, logits, teacher, labels, taps);
  if (loss) rt_mark_output(*g, "loss", loss);
  s = rt_graph_status(*g);
  if (s == RT_OK && t->o.precision == RT_PRECISION_BF16) s = rt_pass_cast(g, "loss.", RT_BF16); /* adapters */
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
  static const char *const name[] = {"auto", "sgd", "adamw", "muon"};
  const rt_train_settings *o = &t->o;
  rt_strbuf_add(text, "optimizer=%s weight_decay=%s decay=weights check=true", name[o->optimizer], o->weight_decay);
  rt_strbuf_add(text, " momentum=%.9g nesterov=%s", o->momentum, o->nesterov ? "true" : "false");
  if (o->optimizer == RT_OPTIMIZER_MUON) rt_strbuf_add(text, " rest=adamw rest_lr=0.05");
  if (o->clip > 0) rt_strbuf_add(text, " clip=%.9g", o->clip);
  if (o->ema > 0) rt_strbuf_add(text, " ema=%.9g", o->ema);
  if (!o->recompute) rt_strbuf_add(text, " recompute=false");
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
  if (s == RT_OK) s = rt_train_model(t, t->evaluation, &logits);
  if (s != RT_OK) return s;
  for (int i = 0; i < t->evaluation->n_values; i++) {
    const rt_var *v = t->evaluation->value[i]->var;
    if (v && v->segment == RT_SEGMENT_PARAMETER) t->parameters += rt_type_elements(&v->type);
  }
  rt_plan_options plan = {.kernels = (rt_kernels)t->o.kernels};
  return rt_compile_evaluation(&t->evaluation, t->o.ema > 0, t->o.precision == RT_PRECISION_BF16, &plan,
                               &t->evaluate_plan);
}

rt_status rt_train_freeze(rt_trainer *t) {
  rt_plan_free(t->train_plan);
  rt_graph_free(t->training);
  t->train_plan = NULL;
  t->training = NULL;
  t->qat.frozen = true;
  rt_status s = compile_training(t);
  return s == RT_OK ? rt_objective_bind(t) : s;
}

rt_status rt_train_build(rt_trainer *t) {
  rt_status s = rt_store_new(&t->store);
  if (s == RT_OK) s = rt_fed_open(t);
  if (s == RT_OK) s = compile_training(t);
  if (s == RT_OK) s = rt_fed_plan(t);
  if (s == RT_OK) s = rt_objective_bind(t);
  return s == RT_OK ? compile_evaluation(t) : s;
}

/* ---- weights ---- */

/* The model alone, in a store of its own: without what was trained beside it. */
static rt_status model_store(const rt_trainer *t, bool averages, rt_store *to) {
  rt_graph *g;
  rt_value *logits;
  rt_status s = rt_graph_new(to, &g);
  if (s != RT_OK) return s;
  s = rt_train_model(t, g, &logits);
  if (s == RT_OK) s = rt_store_allocate(to);
  char name[512];
  for (int i = 0; i < to->n && s == RT_OK; i++) {
    const rt_var *v = to->var[i], *from = NULL;
    snprintf(name, sizeof name, "%s.ema", v->name);
    if (averages) from = rt_store_find(t->store, name);
    if (!from) from = rt_store_find(t->store, v->name);
    if (from) s = rt_store_set(to, v->name, from->data, (size_t)rt_type_bytes(&v->type));
  }
  rt_graph_free(g);
  return s;
}

/* The model's variables from the file `init`: those beside it aren't looked for there. */
static rt_status load_init(rt_trainer *t, rt_store *model, rt_load_report *report) {
  rt_file *file;
  rt_load_options options = {.segments = RT_MODEL, .allow_partial = t->o.allow_partial};
  rt_status s = model_store(t, false, model);
  if (s == RT_OK) s = rt_file_open(t->o.init, &file);
  if (s != RT_OK) return s;
  s = rt_store_load(model, file, &options, report);
  rt_file_free(file);
  for (int i = 0; i < model->n && s == RT_OK; i++) {
    const rt_var *v = model->var[i];
    s = rt_store_set(t->store, v->name, v->data, (size_t)rt_type_bytes(&v->type));
  }
  return s;
}

static rt_status take_init(rt_trainer *t) {
  rt_store *model;
  rt_load_report report = {0};
  rt_status s = rt_store_new(&model);
  if (s == RT_OK) s = load_init(t, model, &report);
  rt_store_free(model);
  return s == RT_OK && *report.text ? rt_news_note(t, "%s", report.text) : s;
}

rt_status rt_train_start(rt_trainer *t) {
  rt_status s = rt_store_init(t->store, (uint64_t)rt_settings_number(t->o.init_seed));
  if (s == RT_OK) s = rt_train_whiten(t);
  if (s == RT_OK && t->student) s = rt_student_start(t);
  if (s == RT_OK && *t->o.init) s = take_init(t);
  return s == RT_OK ? rt_qat_start(t) : s;
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
  rt_store *model = NULL;
  if (s == RT_OK) s = rt_store_new(&model);
  if (s == RT_OK) s = model_store(t, t->o.ema > 0, model);
  rt_run_path(&t->run, file, path);
  if (s == RT_OK && t->student)
    s = rt_student_save(t, model, path, pairs, n);
  else if (s == RT_OK)
    s = rt_store_save(model, path, RT_MODEL, pairs, n);
  rt_store_free(model);
  for (int i = 0; i < TEXTS; i++) rt_strbuf_release(&text[i]);
  return s;
}
