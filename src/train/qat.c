/* Quantization-aware training: the student's step rounds weights and activations as its int8 form will, and gradients pass
 * straight through (Jacob et al. 2018; learned steps: Esser et al. 2020). Which values are on grids is a record's decision, made
 * before the first step; the grids are variables of the run, "NODE.out.scale" and their like, so the checkpoint has them.
 * Batch norms use the batch until `freeze_statistics` and then their running statistics, as int8 will; after `freeze_ranges` the
 * grids stay. What an epoch came to is measured in int8. */
#include "base/alloc.h"
#include "pass/pass.h"
#include "train/train.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FIELD(name) offsetof(rt_qat_options, name)
static const rt_option table[] = {
    {"target", RT_OPT_CHOICE, FIELD(target), "auto", 0, 0, "auto|vnni|fbgemm|qnnpack",
     "vnni: weights per channel; fbgemm: activations of 7 bits too; qnnpack: weights per tensor"},
    {"keep", RT_OPT_TEXT, FIELD(keep), "", 0, 0, NULL, "layers that stay floating, as in \"fp32:layer4.*;bf16:fc\""},
    {"schemes", RT_OPT_TEXT, FIELD(schemes), "", 0, 0, NULL, "weights of layers, as in \"conv1=per_tensor\""},
    {"observer", RT_OPT_TEXT, FIELD(observer), "histogram", 0, 0, NULL, "how the first ranges are chosen"},
    {"observers", RT_OPT_TEXT, FIELD(observers), "", 0, 0, NULL, "the same of layers, as in \"conv1=minmax\""},
    {"images", RT_OPT_INT, FIELD(images), "512", 1, 1e9, NULL, "training images that they are chosen on"},
    {"learned", RT_OPT_BOOL, FIELD(learned), "false", 0, 0, NULL, "steps between levels of activations are trained"},
    {"freeze_statistics", RT_OPT_SPAN, FIELD(freeze_statistics), "80%", 0, 0, NULL,
     "from then on batch norms use their running statistics"},
    {"freeze_ranges", RT_OPT_SPAN, FIELD(freeze_ranges), "75%", 0, 0, NULL,
     "from then on ranges of activations stay as they are"},
    {0},
};

rt_status rt_qat_options_text(char **out) { return rt_options_help(table, out); }

static const char *record_file(bool best) { return best ? RT_QAT_RECORD : "model.last.json"; }

/* ---- decisions ---- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The first ranges are seen with the statistics of batches like the step's, so these are whole. */
static int64_t calibration_batch(const rt_trainer *t) {
  return least(least((t->o.batch + t->o.accumulate - 1) / t->o.accumulate, 64), t->info.count[RT_TRAIN]);
}

static int64_t calibration_images(const rt_trainer *t) {
  int64_t images = least(t->qat.o.images, t->info.count[RT_TRAIN]), batch = calibration_batch(t);
  return images < batch ? batch : images - images % batch;
}

/* Every value may have a grid; which do, only the passes know. These stand for those that training finds. */
static void allow_grids(rt_record *r) {
  for (int i = 0; i < r->n; i++) {
    r->node[i].scale = 1.0 / rt_target_activations(r->target).high;
    r->node[i].zero_point = 0;
  }
}

/* A folded graph says what int8 would do. */
static rt_status decide(rt_trainer *t) {
  rt_qat *q = &t->qat;
  rt_decisions d = {
      .method = RT_METHOD_QAT, .target = (rt_target)q->o.target, .keep = q->o.keep, .schemes = q->o.schemes};
  rt_store *store = NULL, *folded_store = NULL;
  rt_graph *g = NULL, *folded = NULL;
  rt_value *logits;
  rt_status s = rt_store_new(&store);
  if (s == RT_OK) s = rt_graph_new(store, &g);
  if (s == RT_OK) s = rt_train_model(t, g, &logits);
  if (s == RT_OK) s = rt_pass_inference(&g);
  if (s == RT_OK) s = rt_folded_new(g, false, &folded_store, &folded);
  if (s == RT_OK) s = rt_record_decide(&q->record, folded, &d);
  if (s == RT_OK) allow_grids(&q->record);
  if (s == RT_OK) s = rt_record_settle(&q->record, folded);
  rt_graph_free(folded);
  rt_graph_free(g);
  rt_store_free(folded_store);
  rt_store_free(store);
  return s;
}

static rt_status check(const rt_trainer *t) {
  if (!*t->o.init && !t->student)
    return rt_fail(RT_E_ARGUMENT, "train: quantize=qat goes on from trained weights: init=FILE is missing");
  return RT_OK;
}

rt_status rt_qat_open(rt_trainer *t) {
  rt_qat *q = &t->qat;
  if (!t->o.quantize && *t->o.quantize_options)
    return rt_fail(RT_E_ARGUMENT, "train: quantize_options=%s says how to quantize, and quantize=none doesn't",
                   t->o.quantize_options);
  if (!t->o.quantize) return RT_OK;
  rt_status s = rt_options_parse(table, &q->o, t->o.quantize_options, &t->arena, "quantize_options");
  if (s == RT_OK) s = check(t);
  if (s != RT_OK) return s;
  q->freeze_statistics = (int64_t)rt_span_steps(q->o.freeze_statistics, (double)t->steps);
  q->freeze_ranges = (int64_t)rt_span_steps(q->o.freeze_ranges, (double)t->steps);
  q->record.data = t->o.data;
  q->record.images = calibration_images(t);
  return decide(t);
}

void rt_qat_close(rt_trainer *t) { rt_record_release(&t->qat.record); }

/* ---- the step ---- */

/* Layers that losses compare are results, and results stay apart: where int8 has one inside of a product there is no such value. */
static rt_status check_taps(const rt_trainer *t, const rt_graph *own) {
  rt_store *store;
  rt_graph *plain = NULL;
  rt_value *logits;
  rt_status s = rt_store_new(&store);
  if (s == RT_OK) s = rt_graph_new(store, &plain);
  if (s == RT_OK) s = rt_train_model(t, plain, &logits);
  if (s == RT_OK) s = rt_pass_fuse(&plain, NULL);
  bool same = s != RT_OK || plain->n_nodes == own->n_nodes;
  rt_graph_free(plain);
  rt_store_free(store);
  if (same) return s;
  const char *names = "";
  for (int i = 0; i < t->objective.taps; i++)
    if (t->objective.tap[i].network == RT_STUDENT) names = t->objective.tap[i].name;
  return rt_fail(
      RT_E_ARGUMENT,
      "quantize=qat: a layer of the student that is compared is inside of what int8 computes at once (the last "
      "one named is %s): compare what its block ends with, as in layer2 or stage2",
      names);
}

rt_status rt_qat_insert(const rt_trainer *t, rt_graph **own) {
  const rt_qat *q = &t->qat;
  rt_int8_table grids = {0};
  rt_graph *fake = NULL;
  rt_status s = check_taps(t, *own);
  if (s == RT_OK && q->frozen) s = rt_pass_freeze_statistics(own, NULL);
  if (s == RT_OK) s = rt_name_nodes(*own);
  if (s == RT_OK) s = rt_record_table(&q->record, &grids);
  if (s == RT_OK) s = rt_fake_quant(*own, &grids, q->o.learned ? RT_GRIDS_LEARNED : RT_GRIDS_OBSERVED, &fake);
  rt_free((void *)grids.node);
  if (s != RT_OK) return s;
  rt_graph_free(*own);
  *own = fake;
  return RT_OK;
}

bool rt_qat_freezes(const rt_trainer *t) {
  return t->o.quantize && !t->qat.frozen && t->state.step >= t->qat.freeze_statistics;
}

float rt_qat_observer_rate(const rt_trainer *t) {
  return t->state.step < t->qat.freeze_ranges ? 0.01f : 0; /* PyTorch's, too */
}

/* ---- first grids ---- */

/* The network as it is now, its weights derived: over the run's store, or of the averages of it. */
static rt_status fold(const rt_trainer *t, rt_store **store, rt_graph **folded) {
  rt_graph *g = NULL;
  rt_value *logits;
  *store = NULL;
  *folded = NULL;
  rt_status s = rt_graph_new(t->store, &g);
  if (s == RT_OK) s = rt_train_model(t, g, &logits);
  if (s == RT_OK) s = rt_pass_eval(&g, NULL);
  if (s == RT_OK && t->o.ema > 0) s = rt_pass_ema(&g);
  if (s == RT_OK) s = rt_pass_inference(&g);
  if (s == RT_OK) s = rt_folded_new(g, true, store, folded);
  rt_graph_free(g);
  return s;
}

/* The network as the first steps see it, with their batch's statistics. Running ones of a network that was trained for a few dozen
 * steps are far from these: grids chosen by them cut off most of each value, and the batch norm behind makes up for it with a gain. */
static rt_status unfold(const rt_trainer *t, rt_graph **out) {
  rt_value *logits;
  rt_status s = rt_graph_new(t->store, out);
  if (s == RT_OK) s = rt_train_model(t, *out, &logits);
  if (s == RT_OK) s = rt_pass_unfolded(out);
  if (s == RT_OK) s = rt_pass_fuse(out, NULL);
  return s == RT_OK ? rt_name_nodes(*out) : s;
}

static rt_status calibrate(rt_trainer *t, const rt_graph *graph) {
  rt_qat *q = &t->qat;
  rt_ranges ranges = {0};
  rt_loader *loader = NULL;
  int64_t seen = 0;
  const char *options = rt_arena_text(&t->arena, "batch=%" PRId64 " shuffle=true order_seed=%s%s", calibration_batch(t),
                                      t->o.order_seed, t->normal);
  rt_status s = options ? rt_ranges_new(graph, q->o.observer, q->o.observers, &t->arena, &ranges) : RT_E_MEMORY;
  if (s == RT_OK) s = rt_loader_new(t->data, RT_TRAIN, options, NULL, &loader);
  if (s == RT_OK) s = rt_ranges_observe(&ranges, graph, loader, q->record.images, &seen);
  if (s == RT_OK) s = rt_record_calibrate(&q->record, &ranges);
  if (s == RT_OK) s = rt_record_set_grids(&q->record, t->store);
  rt_loader_free(loader);
  rt_ranges_release(&ranges);
  allow_grids(&q->record);
  return s;
}

rt_status rt_qat_start(rt_trainer *t) {
  rt_store *store = NULL;
  rt_graph *graph = NULL;
  if (!t->o.quantize) return RT_OK;
  rt_status s = rt_qat_freezes(t) ? fold(t, &store, &graph) : unfold(t, &graph);
  if (s == RT_OK) s = calibrate(t, graph);
  rt_graph_free(graph);
  rt_store_free(store);
  return s;
}

/* ---- what an epoch came to ---- */

static bool number(const rt_store *store, const char *node, const char *role, double *out) {
  char name[300];
  snprintf(name, sizeof name, "%s.out.%s", node, role);
  const rt_var *v = rt_store_find(store, name);
  if (v) *out = (double)*(const float *)v->data;
  return v != NULL;
}

/* The record with the grids of this moment. Values that aren't on one have none. */
static rt_status now(const rt_trainer *t, rt_record *out) {
  const rt_record *from = &t->qat.record;
  double most = rt_target_activations(from->target).high;
  rt_status s = RT_OK;
  *out = (rt_record){
      .cpu = from->cpu, .data = from->data, .method = from->method, .target = from->target, .images = from->images};
  for (int i = 0; i < from->n && s == RT_OK; i++) {
    rt_record_node n = from->node[i];
    double zero = 0;
    n.scale = 0;
    n.observer = "";
    n.range = (rt_range){0, 0};
    if (number(t->store, n.node, "scale", &n.scale) && number(t->store, n.node, "zero_point", &zero)) {
      if (!(n.scale > 0))
        s = rt_fail(RT_E_DIVERGED, "step %" PRId64 ": the scale of %s became %g: a smaller lr may help", t->state.step,
                    n.node, n.scale);
      n.observer = t->qat.o.learned ? "learned" : "moving_average";
      n.range = (rt_range){-zero * n.scale, (most - zero) * n.scale};
    }
    n.zero_point = (int)zero;
    if (s == RT_OK) s = rt_record_add(out, &n);
  }
  return s;
}

static rt_network describe(const rt_trainer *t) {
  const rt_data_info *d = &t->info;
  return (rt_network){.rank = 4,
                      .info = {.channels = d->channels, .height = d->height, .width = d->width, .classes = d->classes}};
}

rt_status rt_qat_network(const rt_trainer *t, rt_network **out) {
  rt_store *store = NULL;
  rt_graph *folded = NULL;
  rt_record record;
  rt_network of = describe(t);
  *out = NULL;
  rt_status s = now(t, &record);
  if (s == RT_OK) s = fold(t, &store, &folded);
  if (s == RT_OK) s = rt_int8_network(&of, folded, &record, false, out);
  rt_record_release(&record);
  rt_graph_free(folded);
  rt_store_free(store);
  return s;
}

rt_status rt_qat_save(rt_trainer *t, bool best) {
  char path[RT_RUN_PATH];
  rt_record record;
  if (!t->o.quantize) return RT_OK;
  rt_status s = now(t, &record);
  if (s == RT_OK) s = rt_record_save(&record, rt_run_path(&t->run, record_file(best), path));
  rt_record_release(&record);
  return s;
}

/* ---- the int8 file, once the best epoch is known ---- */

const char *rt_qat_file(const rt_trainer *t) { return t->student ? "model.int8.onnx" : "model.int8.pth"; }

typedef struct made {
  rt_network *of, *floating, *twin, *int8;
  rt_store *store;
  rt_graph *folded;
  rt_record record;
  float *image; /* of the test vectors */
  int64_t images;
} made;

static void release(made *m) {
  rt_network_free(m->floating);
  rt_network_free(m->twin);
  rt_network_free(m->int8);
  rt_graph_free(m->folded);
  rt_store_free(m->store);
  rt_network_free(m->of);
  rt_record_release(&m->record);
  rt_free(m->image);
}

static rt_status make(const rt_trainer *t, made *m) {
  char path[RT_RUN_PATH];
  rt_network_options o = {
      .channels = t->info.channels, .height = t->info.height, .width = t->info.width, .classes = t->info.classes};
  rt_status s = rt_network_load(rt_run_path(&t->run, rt_student_file(t, true), path), &o, &m->of);
  if (s == RT_OK) s = rt_record_open(rt_run_path(&t->run, record_file(true), path), &m->record);
  if (s == RT_OK) s = rt_pass_inference(&m->of->graph);
  if (s == RT_OK) s = rt_folded_new(m->of->graph, true, &m->store, &m->folded);
  if (s == RT_OK) s = rt_float_network(m->of, m->folded, false, &m->floating);
  if (s == RT_OK) s = rt_twin_network(m->of, m->folded, &m->record, &m->twin);
  return s == RT_OK ? rt_int8_network(m->of, m->folded, &m->record, false, &m->int8) : s;
}

static rt_status take_images(const rt_trainer *t, made *m) {
  rt_loader *loader = NULL;
  rt_batch b;
  rt_status s = rt_network_loader(m->of, t->data, RT_TRAIN, "batch=4", &loader);
  if (s == RT_OK) s = rt_loader_next(loader, &b);
  if (s == RT_OK) {
    size_t bytes = (size_t)(b.n * b.channels * b.height * b.width) * sizeof *b.x;
    m->images = b.n;
    m->image = rt_alloc(bytes);
    if (m->image) memcpy(m->image, b.x, bytes);
    if (!m->image) s = RT_E_MEMORY;
  }
  rt_loader_free(loader);
  return s;
}

typedef struct scores {
  rt_score int8, floating, twin;
  int64_t agree; /* int8 and its twin */
} scores;

static rt_status measure(rt_trainer *t, made *m, scores *out) {
  rt_metrics *other = NULL;
  rt_agreement agreement = {0};
  if (!t->info.count[RT_TEST]) return RT_OK;
  rt_status s = rt_metrics_new(t->info.classes, &other);
  if (s == RT_OK) s = rt_evaluate(m->floating, t->data, RT_TEST, t->o.batch, other);
  if (s != RT_OK) return s;
  rt_metrics_score(other, &out->floating);
  rt_metrics_clear(other);
  rt_metrics_clear(t->metrics);
  s = rt_evaluate_beside(m->int8, m->twin, t->data, RT_TEST, t->o.batch, t->metrics, other, &agreement);
  rt_metrics_score(t->metrics, &out->int8);
  rt_metrics_score(other, &out->twin);
  out->agree = agreement.agree;
  rt_metrics_free(other);
  return s;
}

static rt_status tell(rt_trainer *t, const scores *s) {
  if (!s->int8.images) return RT_OK;
  return rt_news_note(t,
                      "%s: %" PRId64 " of %" PRId64 " test images are right in int8, %" PRId64
                      " rounded in float, %" PRId64
                      " of its weights unrounded; int8 and its float twin say the same of %" PRId64,
                      rt_qat_file(t), s->int8.correct, s->int8.images, s->twin.correct, s->floating.correct, s->agree);
}

rt_status rt_qat_finish(rt_trainer *t, rt_score *test) {
  char path[RT_RUN_PATH];
  made m = {0};
  scores found = {0};
  rt_status s = make(t, &m);
  if (s == RT_OK) s = take_images(t, &m);
  if (s == RT_OK) s = measure(t, &m, &found);
  if (s == RT_OK && found.int8.images) s = rt_dark_knowledge(t, m.int8);
  rt_int8_file file = {.of = m.of,
                       .folded = m.folded,
                       .record = &m.record,
                       .image = m.image,
                       .vectors = m.images,
                       .data = t->o.data,
                       .int8 = found.int8,
                       .floating = found.floating};
  if (s == RT_OK) s = rt_int8_write(&file, m.int8, rt_run_path(&t->run, rt_qat_file(t), path));
  if (s == RT_OK) s = tell(t, &found);
  *test = found.int8;
  release(&m);
  return s;
}
