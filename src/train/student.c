/* A student that comes as a graph, an .onnx file: built from it for every graph of the run, saved as ONNX again. */
#include "format/format.h"
#include "onnx/onnx.h"
#include "pass/pass.h"
#include "plan/plan.h"
#include "record/record.h"
#include "train/network.h"
#include "train/train.h"

#include <stdio.h>
#include <string.h>

bool rt_is_onnx(const char *name) {
  const char *dot = strrchr(name, '.');
  return dot && strcmp(dot, ".onnx") == 0;
}

/* The run's directory is called after the file. */
static void name_model(rt_trainer *t) {
  const char *slash = strrchr(t->o.model, '/'), *base = slash ? slash + 1 : t->o.model;
  int length = (int)(strlen(base) - strlen(".onnx"));
  snprintf(t->model, sizeof t->model, "%.*s", length < 40 ? length : 40, base);
}

rt_status rt_student_open(rt_trainer *t) {
  if (!rt_is_onnx(t->o.model))
    return t->o.reinsert_batchnorm
               ? rt_fail(RT_E_ARGUMENT, "train: reinsert_batchnorm is for students from .onnx files, and model is %s",
                         t->o.model)
               : RT_OK;
  name_model(t);
  rt_status s = rt_file_open(t->o.model, &t->student_file);
  return s == RT_OK ? rt_onnx_open(t->student_file, &t->student) : s;
}

void rt_student_close(rt_trainer *t) {
  rt_onnx_free(t->student);
  rt_file_free(t->student_file);
}

const char *rt_student_file(const rt_trainer *t, bool best) {
  if (t->student) return best ? "model.best.onnx" : "model.last.onnx";
  return best ? "model.best.pth" : "model.last.pth";
}

rt_status rt_student_build(const rt_trainer *t, rt_graph *g, rt_value **logits) {
  const rt_data_info *d = &t->info;
  rt_onnx_options o = {.network = true, .norms = t->o.reinsert_batchnorm, .dim = {d->channels, d->height, d->width}};
  rt_status s = rt_onnx_build(t->student, g, &o);
  if (s != RT_OK) return s;
  if (rt_record_has_grids(g))
    return rt_fail(RT_E_ARGUMENT,
                   "%s: its weights are in int8, and only floating ones are trained: train the network that it was "
                   "made of, then quantize that",
                   t->o.model);
  if (rt_onnx_takes_bytes(t->student))
    return rt_fail(RT_E_ARGUMENT,
                   "%s: it takes bytes and normalises them itself: train the network without that, and export it anew",
                   t->o.model);
  const rt_value *x = rt_find(g, "x");
  char tx[RT_TYPE_TEXT], ty[RT_TYPE_TEXT];
  *logits = rt_find(g, "logits");
  rt_type_text(g, &x->type, tx, sizeof tx);
  rt_type_text(g, &(*logits)->type, ty, sizeof ty);
  if (x->type.rank != 4 || x->type.dtype != RT_F32 || x->type.dim[1] != d->channels || x->type.dim[2] != d->height ||
      x->type.dim[3] != d->width)
    return rt_fail(RT_E_SHAPE, "%s: its input is %s, and images of %s are %lldx%lldx%lld", t->o.model, tx, d->kind,
                   (long long)d->channels, (long long)d->height, (long long)d->width);
  if ((*logits)->type.rank != 2 || (*logits)->type.dim[1] != d->classes)
    return rt_fail(RT_E_SHAPE, "%s: its output is %s, and %s has %lld classes", t->o.model, ty, d->kind,
                   (long long)d->classes);
  return RT_OK;
}

/* Exporters fold batch norms unless told otherwise; what is left trains with biases only. */
static rt_status note_folded(rt_trainer *t) {
  int convolutions = 0, norms = 0;
  for (int i = 0; i < t->training->n_nodes; i++) {
    const char *op = t->training->node[i]->op->name;
    if (strncmp(t->training->node[i]->name, "teacher", 7) == 0) continue;
    convolutions += strcmp(op, "conv2d") == 0;
    norms += strncmp(op, "batch_norm", 10) == 0 || strncmp(op, "layer_norm", 10) == 0;
  }
  if (norms || convolutions < 4) return RT_OK;
  return rt_news_note(
      t,
      "%s has no batch norm: its exporter folded it into the convolutions, which train with their biases and "
      "want a small learning rate; reinsert_batchnorm=true gives them new ones, and torch.onnx.export(..., "
      "training=torch.onnx.TrainingMode.PRESERVE, "
      "do_constant_folding=False) of a model in training mode keeps it",
      t->o.model);
}

rt_status rt_student_start(rt_trainer *t) {
  rt_status s = rt_onnx_load(t->student, t->store, false);
  if (s != RT_OK) return s;
  return t->o.reinsert_batchnorm ? rt_student_norms(t) : note_folded(t);
}

/* ---- what is saved ---- */

/* A few images that nothing is learned from, or else training images, as they are. */
static rt_status choose_vectors(rt_trainer *t) {
  enum { IMAGES = 4 };
  const rt_data_info *d = &t->info;
  int64_t each = d->channels * d->height * d->width;
  rt_loader *loader;
  rt_batch b;
  char text[32];
  if (t->vector) return RT_OK;
  snprintf(text, sizeof text, "batch=%d", IMAGES);
  rt_status s = rt_loader_new(t->data, d->count[RT_VALIDATION] ? RT_VALIDATION : RT_TRAIN, text, NULL, &loader);
  if (s != RT_OK) return s;
  s = rt_loader_next(loader, &b);
  t->vectors = s == RT_OK ? b.n : 0;
  t->vector = s == RT_OK ? rt_arena_copy(&t->arena, b.x, (size_t)(b.n * each) * sizeof *b.x) : NULL;
  rt_loader_free(loader);
  return s == RT_OK && !t->vector ? RT_E_MEMORY : s;
}

/* A graph of the student with a store's weights, in evaluation form. */
static rt_status evaluated(const rt_trainer *t, rt_store *store, rt_graph **g) {
  rt_value *logits;
  rt_status s = rt_graph_new(store, g);
  if (s == RT_OK) s = rt_student_build(t, *g, &logits);
  if (s == RT_OK) s = rt_pass_eval(g, NULL);
  return s == RT_OK ? rt_pass_prune(g) : s;
}

/* The images, and what these weights say of them, as metadata. */
static rt_status add_vectors(rt_trainer *t, rt_store *store, rt_arena *arena, rt_pair *pairs, int *n) {
  const rt_data_info *d = &t->info;
  rt_network_info shape = {.channels = d->channels, .height = d->height, .width = d->width, .classes = d->classes};
  int64_t dim[] = {0, d->channels, d->height, d->width};
  rt_graph *g = NULL;
  rt_plan *plan = NULL;
  rt_store *kept = NULL;
  rt_result said;
  rt_status s = choose_vectors(t);
  if (s == RT_OK) s = evaluated(t, store, &g);
  if (s == RT_OK) s = rt_compile_evaluation(&g, false, false, NULL, &plan);
  dim[0] = t->vectors;
  if (s == RT_OK) s = rt_plan_run(plan, &(rt_feed){"x", 4, dim, t->vector}, 1);
  if (s == RT_OK) s = rt_plan_result(plan, "logits", &said);
  if (s == RT_OK) s = rt_store_new(&kept);
  if (s == RT_OK) s = rt_vectors_keep(kept, &shape, t->vectors, t->vector, said.data);
  if (s == RT_OK) s = rt_vectors_metadata(kept, arena, pairs, n);
  rt_store_free(kept);
  rt_plan_free(plan);
  rt_graph_free(g);
  return s;
}

rt_status rt_student_save(rt_trainer *t, rt_store *store, const char *path, const rt_pair *metadata, int n) {
  enum { MOST = 32 };
  rt_pair pairs[MOST + 2];
  rt_arena arena = {0};
  rt_graph *g = NULL;
  rt_onnx_write how = {
      .input = rt_onnx_input_name(t->student), .output = rt_onnx_output_name(t->student), .metadata = pairs};
  for (; how.n_metadata < n && how.n_metadata < MOST; how.n_metadata++)
    pairs[how.n_metadata] = metadata[how.n_metadata];
  rt_status s = add_vectors(t, store, &arena, pairs, &how.n_metadata);
  if (s == RT_OK) s = evaluated(t, store, &g);
  if (s == RT_OK) s = rt_onnx_export_graph(g, path, &how);
  rt_graph_free(g);
  rt_arena_release(&arena);
  return s;
}
