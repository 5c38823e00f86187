/* Teachers: networks that a student learns from. Each is brought into its form in a graph of its own and then appended to
 * the training graph; its weights stay in its own store, so that nothing trains, saves or draws them. */
#include "base/rng.h"
#include "data/data.h"
#include "model/model.h"
#include "pass/pass.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- from files, or the table ---- */

static bool is_model(const char *text) {
  size_t n = strcspn(text, ":");
  for (int i = 0; rt_model_name(i); i++)
    if (strlen(rt_model_name(i)) == n && strncmp(rt_model_name(i), text, n) == 0) return access(text, F_OK) != 0;
  return false;
}

static rt_status wrong_shape(const rt_data_info *d, int64_t channels, int64_t height, int64_t width) {
  return rt_fail(
      RT_E_SHAPE,
      "the teacher takes images of %lldx%lldx%lld, and those of %s are %lldx%lldx%lld: take a data set of its "
      "shape, or a teacher that was trained on this one",
      (long long)channels, (long long)height, (long long)width, d->kind, (long long)d->channels, (long long)d->height,
      (long long)d->width);
}

/* What the file says of its images comes first: a convolutional network would run on others, and be wrong. */
static rt_status check_told_shape(const char *path, const rt_data_info *d) {
  rt_file *file;
  long long c, h, w;
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return s;
  const char *told = rt_file_metadata(file, "input");
  if (told && sscanf(told, "%lldx%lldx%lld", &c, &h, &w) == 3 && (c != d->channels || h != d->height || w != d->width))
    s = wrong_shape(d, c, h, w);
  rt_file_free(file);
  return s;
}

static const char *if_given(const char *text) { return *text ? text : NULL; }

rt_network_options rt_teacher_options(const rt_trainer *t) {
  const rt_data_info *d = &t->info;
  return (rt_network_options){.model = if_given(t->o.teacher_model),
                              .mean = if_given(t->o.teacher_mean),
                              .std = if_given(t->o.teacher_std),
                              .channels = d->channels,
                              .height = d->height,
                              .width = d->width,
                              .classes = d->classes,
                              .bf16 = t->o.teacher_precision == RT_PRECISION_BF16,
                              .kernels = (rt_kernels)t->o.kernels};
}

static rt_status load(const rt_trainer *t, rt_teacher *teacher) {
  rt_network_options o = rt_teacher_options(t);
  teacher->trained = !is_model(teacher->text);
  if (!teacher->trained) {
    o.model = teacher->text;
    return rt_network_draw(&o, (uint64_t)rt_settings_number(t->o.init_seed) + 1, &teacher->network);
  }
  rt_status s = check_told_shape(teacher->text, &t->info);
  return s == RT_OK ? rt_network_load(teacher->text, &o, &teacher->network) : s;
}

static uint64_t hash_weights(const rt_store *store) {
  uint64_t h = rt_hash_text("teacher");
  for (int i = 0; i < store->n; i++) {
    const rt_var *v = store->var[i];
    h = rt_hash(h, v->name, strlen(v->name));
    if (!v->alias) h = rt_hash(h, v->data, (size_t)rt_type_bytes(&v->type));
  }
  return h;
}

static rt_status open_one(rt_trainer *t, const char *text, size_t length) {
  rt_objective *o = &t->objective;
  if (o->teachers == RT_MOST_TEACHERS) return rt_fail(RT_E_ARGUMENT, "train: more than %d teachers", RT_MOST_TEACHERS);
  rt_teacher *teacher = &o->teacher[o->teachers];
  *teacher = (rt_teacher){.text = rt_arena_text(&t->arena, "%.*s", (int)length, text), .weight = 1};
  if (!teacher->text) return RT_E_MEMORY;
  rt_status s = load(t, teacher);
  if (s == RT_OK && t->o.teacher_precision == RT_PRECISION_INT8 && !teacher->network->info.int8_target)
    return rt_fail(RT_E_ARGUMENT,
                   "teacher_precision=int8: %s is no int8 network; make one of it first: retort quantize",
                   teacher->text);
  if (s == RT_OK) teacher->hash = hash_weights(teacher->network->store);
  if (s == RT_OK) o->teachers++;
  if (s == RT_E_ARGUMENT && !*t->o.teacher_model)
    return rt_fail_in(s, "teacher (teacher_model says what its file doesn't)");
  return s == RT_OK || !strncmp(rt_error(), teacher->text, length) ? s : rt_fail_in(s, "teacher %s", teacher->text);
}

/* The last of them, whatever else there is. */
static rt_status open_outputs(rt_trainer *t) {
  rt_objective *o = &t->objective;
  if (!*t->o.teacher_outputs) return RT_OK;
  if (o->teachers == RT_MOST_TEACHERS) return rt_fail(RT_E_ARGUMENT, "train: more than %d teachers", RT_MOST_TEACHERS);
  rt_teacher *teacher = &o->teacher[o->teachers++];
  *teacher = (rt_teacher){.text = t->o.teacher_outputs, .weight = 1, .trained = true};
  return rt_outputs_open(t, teacher);
}

/* Those that learn along. */
static rt_status open_peers(rt_trainer *t) {
  rt_objective *o = &t->objective;
  rt_network_options options = rt_teacher_options(t);
  rt_status s = RT_OK;
  for (const char *p = t->o.peers; *p && s == RT_OK; p += *p == ';') {
    while (*p == ' ') p++;
    size_t n = strcspn(p, ";");
    bool same = n == 4 && memcmp(p, "same", 4) == 0;
    if (n && o->teachers == RT_MOST_TEACHERS)
      s = rt_fail(RT_E_ARGUMENT, "train: more than %d teachers and peers", RT_MOST_TEACHERS);
    else if (n && same && t->student)
      s = rt_fail(RT_E_ARGUMENT, "peers=%s: the student is a file; name a model of the table", t->o.peers);
    else if (n) {
      rt_teacher *peer = &o->teacher[o->teachers++];
      *peer = (rt_teacher){
          .text = same ? t->o.model : rt_arena_text(&t->arena, "%.*s", (int)n, p), .weight = 1, .peer = true};
      options.model = peer->text;
      s = peer->text ? rt_network_draw(&options, 0, &peer->network) : RT_E_MEMORY;
      if (s != RT_OK) s = rt_fail_in(s, "peers");
    }
    p += n;
  }
  return s;
}

bool rt_teacher_runs(const rt_trainer *t, int k) {
  const rt_teacher *one = &t->objective.teacher[k];
  return !one->outputs && !one->peer;
}

static rt_status read_weights(rt_trainer *t) {
  rt_objective *o = &t->objective;
  float weight[RT_MOST_TEACHERS], sum = 0;
  if (strcmp(t->o.teacher_weights, "mean") == 0) return RT_OK;
  rt_status s = rt_parse_numbers(t->o.teacher_weights, o->teachers, "teacher_weights", weight);
  for (int i = 0; i < o->teachers && s == RT_OK; i++) {
    if (!(weight[i] >= 0))
      s = rt_fail(RT_E_ARGUMENT, "train: teacher_weights=%s: expected numbers of at least 0", t->o.teacher_weights);
    o->teacher[i].weight = (double)weight[i];
    sum += weight[i];
  }
  if (s == RT_OK && !(sum > 0))
    s = rt_fail(RT_E_ARGUMENT, "train: teacher_weights=%s: all are zero, so there is no mean", t->o.teacher_weights);
  return s;
}

rt_status rt_teachers_open(rt_trainer *t) {
  rt_objective *o = &t->objective;
  rt_status s = RT_OK;
  double sum = 0;
  for (const char *p = t->from ? t->from : t->o.teacher; *p && s == RT_OK; p += *p == ';') {
    size_t n = strcspn(p, ";");
    if (n) s = open_one(t, p, n);
    p += n;
  }
  if (s == RT_OK) s = open_outputs(t);
  if (s == RT_OK) s = open_peers(t);
  if (s == RT_OK && o->teachers) s = read_weights(t);
  for (int i = 0; i < o->teachers; i++) sum += o->teacher[i].weight;
  for (int i = 0, peers = 0; i < o->teachers && s == RT_OK; i++) {
    rt_teacher *one = &o->teacher[i];
    one->weight /= sum;
    one->prefix = one->peer          ? rt_arena_text(&t->arena, "peer%d.", ++peers)
                  : o->teachers == 1 ? "teacher."
                                     : rt_arena_text(&t->arena, "teacher%d.", i + 1);
    if (!one->prefix) s = RT_E_MEMORY;
  }
  return s;
}

void rt_teachers_close(rt_trainer *t) {
  for (int i = 0; i < RT_MOST_TEACHERS; i++) {
    rt_network_free(t->objective.teacher[i].network);
    rt_outputs_free(t->objective.teacher[i].outputs);
  }
}

/* ---- in the training graph ---- */

static bool differ(const float *a, const float *b, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (fabs((double)a[i] - (double)b[i]) > 1e-6 * fabs((double)b[i]) + 1e-7) return true;
  return false;
}

bool rt_teacher_normalises(const rt_trainer *t, int k) {
  const rt_network_info *n = &t->objective.teacher[k].network->info;
  return n->mean &&
         (differ(n->mean, t->info.mean, t->info.channels) || differ(n->deviation, t->info.deviation, t->info.channels));
}

/* Images come with the data's mean m and deviation d; a teacher that learned with others, m' and d', gets
 *   (x·d + m − m')/d' = x·(d/d') + (m − m')/d' */
static rt_value *normalised(const rt_trainer *t, int k, rt_graph *g, rt_value *x) {
  const rt_network_info *n = &t->objective.teacher[k].network->info;
  const rt_data_info *d = &t->info;
  int64_t dim[] = {1, d->channels, 1, 1};
  if (!rt_teacher_normalises(t, k)) return x;
  float *scale = rt_arena_alloc(&g->arena, (size_t)(2 * d->channels) * sizeof *scale);
  if (!scale) return rt_graph_failed(g, RT_E_MEMORY);
  float *shift = scale + d->channels;
  for (int64_t c = 0; c < d->channels; c++) {
    scale[c] = d->deviation[c] / n->deviation[c];
    shift[c] = (d->mean[c] - n->mean[c]) / n->deviation[c];
  }
  return rt_add(g, rt_mul(g, x, rt_constant(g, RT_F32, 4, dim, scale)), rt_constant(g, RT_F32, 4, dim, shift));
}

/* A copy of its graph in the form it runs in: evaluation, batch norm folded, low precision. */
static rt_status form(const rt_trainer *t, int k, rt_graph **out) {
  const rt_network *n = t->objective.teacher[k].network;
  rt_status s = rt_graph_new(n->store, out);
  if (s != RT_OK) return s;
  rt_value **map = rt_graph_new_map(*out, n->graph);
  s = map ? rt_graph_inline(*out, n->graph, "", map) : RT_E_MEMORY;
  if (s == RT_OK) rt_mark_output(*out, "logits", map[rt_find(n->graph, "logits")->id]);
  if (s == RT_OK) s = rt_taps_mark(t, k, *out);
  if (s == RT_OK && t->o.teacher_mode == RT_TEACHER_EVAL) s = rt_pass_eval(out, NULL);
  if (s == RT_OK && t->o.teacher_mode == RT_TEACHER_EVAL) s = rt_pass_fold_batch_norm(out, NULL);
  if (s == RT_OK) s = rt_pass_fuse(out, NULL);
  if (s == RT_OK && t->o.teacher_precision == RT_PRECISION_BF16) s = rt_pass_cast(out, NULL, RT_BF16);
  return s;
}

/* As the student trains, under names of its own in the run's store. */
static rt_status inline_peer(const rt_trainer *t, int k, rt_graph *g, rt_value **logits, rt_layer *taps) {
  const rt_teacher *peer = &t->objective.teacher[k];
  const rt_network_info *n = &peer->network->info;
  rt_graph *own;
  rt_status s = rt_graph_new(g->store, &own);
  if (s != RT_OK) return s;
  rt_dim dim[] = {rt_symbol(own, "batch"), n->channels, n->height, n->width};
  rt_value *x = rt_input(own, "x", RT_F32, 4, dim);
  rt_scope_push(own, rt_arena_text(&own->arena, "%.*s", (int)strlen(peer->prefix) - 1, peer->prefix));
  rt_mark_output(own, "logits", rt_model(own, n->model, x, n->options));
  rt_scope_pop(own);
  s = rt_graph_status(own);
  if (s == RT_OK) return rt_train_inline(t, k, own, g, logits, taps);
  rt_graph_free(own);
  return s;
}

rt_status rt_teacher_inline(const rt_trainer *t, int k, rt_graph *g, rt_value *x, rt_value **logits, rt_layer *taps) {
  if (t->objective.teacher[k].peer) return inline_peer(t, k, g, logits, taps);
  rt_graph *own = NULL;
  rt_status s = form(t, k, &own);
  rt_value **map = s == RT_OK ? rt_graph_new_map(g, own) : NULL;
  if (s == RT_OK && !map) s = RT_E_MEMORY;
  const rt_value *input = s == RT_OK ? rt_find(own, "x") : NULL;
  if (input) { /* what was only said reads no images */
    x = normalised(t, k, g, x);
    if (input->type.rank == 2) x = rt_apply(g, "flatten", NULL, &x, 1, NULL);
    map[input->id] = x;
    s = rt_graph_status(g);
  }
  if (s == RT_OK) s = rt_graph_inline(g, own, t->objective.teacher[k].prefix, map);
  if (s == RT_OK) {
    *logits = map[rt_find(own, "logits")->id];
    rt_taps_take(t, k, own, map, taps);
  }
  rt_graph_free(own);
  return s;
}
