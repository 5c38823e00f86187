/* What a student learns from: the terms of its loss, the layers that they compare, and what schedules change of them. */
#include "data/data.h"
#include "train/train.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- layers ---- */

/* What is called "stage1", "stage2" …: of every size of image, in order of size, the last result of a block, that is, of those
 * whose names have the fewest parts. In a MobileNet that is features.3, and not what features.4 widens before it strides. Nodes
 * that only move pixels don't count: on the way to a smaller size they make odd ones. */
enum { MOST_STAGES = 16 };

static bool is_map(const rt_node *node) {
  const rt_type *y = node->n_out ? &node->out[0]->type : NULL;
  return y && y->rank == 4 && y->dim[2] > 1 && y->dim[3] > 0 && (rt_dtype_is_float(y->dtype) || y->dtype == RT_U8) &&
         !node->op->effect && node->op->layout != RT_LAYOUT_ROW_MAJOR;
}

/* How many parts the name of a layer has; many where it can't be named in a pair. */
static int parts_of(rt_graph *g, const rt_value *v) {
  const char *name = rt_layer_name(g, v);
  int n = 1;
  if (!name || strpbrk(name, ":+, ")) return INT_MAX;
  for (; *name; name++) n += *name == '.' || *name == '/';
  return n;
}

static int find_stages(rt_graph *g, rt_value *stage[MOST_STAGES]) {
  int n = 0, parts[MOST_STAGES];
  for (int i = 0; i < g->n_nodes; i++) {
    if (!is_map(g->node[i])) continue;
    rt_value *v = g->node[i]->out[0];
    int k = 0, here = parts_of(g, v);
    while (k < n && (stage[k]->type.dim[2] != v->type.dim[2] || stage[k]->type.dim[3] != v->type.dim[3])) k++;
    if (k == MOST_STAGES || (k < n && here > parts[k])) continue;
    stage[k] = v;
    parts[k] = here;
    n += k == n;
  }
  return n;
}

/* What the layer that gives the logits reads. */
static rt_value *find_features(rt_graph *g) {
  const rt_value *logits = rt_find(g, "logits");
  const rt_node *node = logits ? logits->node : NULL;
  static const rt_op *const layers[] = {RT_OP(linear), RT_OP(matmul), RT_OP(conv2d), RT_OP(linear_int8),
                                        RT_OP(conv2d_int8)};
  const int kinds = sizeof layers / sizeof *layers;
  for (int k = kinds; node && k == kinds;) {
    for (k = 0; k < kinds && node->op != layers[k];) k++;
    if (k < kinds) break;
    node = node->n_in && node->in[0] ? node->in[0]->node : NULL;
  }
  return node && node->in[0]->node ? node->in[0] : NULL;
}

rt_value *rt_tap_find(rt_graph *g, const char *name) {
  rt_value *stage[MOST_STAGES], *v = rt_find_layer(g, name);
  int k;
  char end;
  if (v || sscanf(name, "stage%d%c", &k, &end) != 1) return v;
  return k >= 1 && k <= find_stages(g, stage) ? stage[k - 1] : NULL;
}

static const char *whose(const rt_trainer *t, int network, char *text, size_t size) {
  if (network == RT_STUDENT)
    snprintf(text, size, "the student (%s)", t->model);
  else if (t->objective.teachers == 1)
    snprintf(text, size, "the teacher (%s)", t->objective.teacher[0].network->info.model);
  else
    snprintf(text, size, "teacher %d (%s)", network + 1, t->objective.teacher[network].network->info.model);
  return text;
}

static rt_status unknown_layer(const rt_trainer *t, const rt_tap *tap, rt_graph *g) {
  const rt_layer_info *layer;
  rt_value *stage[MOST_STAGES];
  char hint[64], who[128];
  int n;
  rt_nearest nearest = {.word = tap->layer};
  rt_status s = rt_graph_layers(g, &layer, &n);
  if (s != RT_OK) return s;
  for (int i = 0; i < n; i++) rt_nearest_offer(&nearest, layer[i].name);
  rt_strbuf known = {0};
  int stages = find_stages(g, stage);
  for (int i = 0; i < stages; i++) {
    const char *name = rt_layer_name(g, stage[i]);
    if (name) rt_strbuf_add(&known, "%s%s", known.length ? ", " : "; it has ", name);
  }
  s = rt_fail(RT_E_UNKNOWN, "%s has no layer %s%s%s (retort inspect MODEL --layers lists all)",
              whose(t, tap->network, who, sizeof who), tap->layer, rt_nearest_hint(&nearest, hint, sizeof hint),
              known.length ? known.text : "");
  rt_strbuf_release(&known);
  return s;
}

/* A layer of an int8 network is levels; what is compared is what they stand for. Its grid is in the store, under the name of its
 * node, or of one in front of it that it moves the levels of. */
static rt_value *as_float(rt_graph *own, rt_value *v) {
  char name[RT_RUN_PATH];
  if (v->type.dtype != RT_U8) return v;
  for (const rt_node *node = v->node; node; node = node->n_in && node->in[0] ? node->in[0]->node : NULL) {
    snprintf(name, sizeof name, "%s.out_scale", node->name);
    const rt_var *scale = rt_store_find(own->store, name);
    snprintf(name, sizeof name, "%s.out_zero_point", node->name);
    const rt_var *zero = rt_store_find(own->store, name);
    if (!scale || !zero) continue;
    rt_quantize_attr attr = {
        .scale = (double)*(const float *)scale->data, .zero_point = *(const int32_t *)zero->data, .high = 255};
    return rt_emit(own, RT_OP(dequantize), v->node->name, &attr, 1, v);
  }
  return rt_graph_failed(own, rt_fail(RT_E_UNSUPPORTED, "%s: no scale is known of it", v->node->name));
}

rt_status rt_taps_mark(const rt_trainer *t, int network, rt_graph *own) {
  const rt_objective *o = &t->objective;
  char name[32];
  for (int i = 0; i < o->taps; i++) {
    if (o->tap[i].network != network) continue;
    const char *layer = o->tap[i].layer;
    bool peer = network != RT_STUDENT && o->teacher[network].peer; /* its names have its prefix */
    if (peer) layer = rt_arena_text(&own->arena, "%s%s", o->teacher[network].prefix, layer);
    rt_value *v = layer ? rt_tap_find(own, layer) : NULL;
    if (!v && peer) v = rt_tap_find(own, o->tap[i].layer);
    if (!v) return unknown_layer(t, &o->tap[i], own);
    snprintf(name, sizeof name, "tap.%d", i);
    rt_mark_output(own, name, as_float(own, v));
  }
  return rt_graph_status(own);
}

void rt_taps_take(const rt_trainer *t, int network, rt_graph *own, rt_value *const *map, rt_layer *taps) {
  const rt_objective *o = &t->objective;
  char name[32];
  for (int i = 0; i < o->taps; i++) {
    if (o->tap[i].network != network) continue;
    snprintf(name, sizeof name, "tap.%d", i);
    taps[i] = (rt_layer){o->tap[i].name, map[rt_find(own, name)->id]};
  }
}

/* ---- pairs that nobody named ---- */

typedef struct pairing {
  rt_trainer *t;
  rt_graph *student;
  rt_strbuf text; /* "layer1:layer1+layer2:layer3" */
} pairing;

static void add_pair(pairing *p, rt_value *student, rt_graph *teacher, rt_value *of_teacher) {
  const char *a = rt_layer_name(p->student, student), *b = rt_layer_name(teacher, of_teacher);
  if (a && b && !strpbrk(a, ":+, ") && !strpbrk(b, ":+, "))
    rt_strbuf_add(&p->text, "%s%s:%s", p->text.length ? "+" : "", a, b);
}

static void pair_features(pairing *p, rt_graph *teacher) {
  rt_value *a = find_features(p->student), *b = find_features(teacher);
  if (a && b) add_pair(p, a, teacher, b);
}

/* Those of one resolution; where no two have the same, the last of each. */
static void pair_stages(pairing *p, rt_graph *teacher) {
  rt_value *a[MOST_STAGES], *b[MOST_STAGES];
  int n = find_stages(p->student, a), m = find_stages(teacher, b);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < m; k++)
      if (a[i]->type.dim[2] == b[k]->type.dim[2] && a[i]->type.dim[3] == b[k]->type.dim[3])
        add_pair(p, a[i], teacher, b[k]);
  if (!p->text.length && n && m) add_pair(p, a[n - 1], teacher, b[m - 1]);
}

/* For rows that take layers of the student alone: the last of every resolution but the last. */
static rt_status choose_own(pairing *p, const rt_loss_row *row) {
  rt_value *stage[MOST_STAGES];
  const char *last = NULL;
  for (int i = 0, n = find_stages(p->student, stage); i < n; i++) {
    const char *name = rt_layer_name(p->student, stage[i]);
    if (!name || strpbrk(name, ":+, ")) continue;
    if (last) rt_strbuf_add(&p->text, "%s%s", p->text.length ? "+" : "", last);
    last = name;
  }
  if (p->text.failed) return RT_E_MEMORY;
  return p->text.length ? RT_OK
                        : rt_fail(RT_E_ARGUMENT,
                                  "%s: the student has no layers of several resolutions; say which, as in "
                                  "layers=layer1+layer2",
                                  row->name);
}

static rt_status choose_pairs(pairing *p, const rt_loss_row *row) {
  if (row->needs & RT_LOSS_OWN_LAYERS) return choose_own(p, row);
  rt_graph *teacher = p->t->objective.teacher[0].network->graph;
  if (!row->couples_samples) pair_stages(p, teacher);
  if (!p->text.length) pair_features(p, teacher); /* relations between samples are those of their features */
  if (p->text.failed) return RT_E_MEMORY;
  return p->text.length ? RT_OK
                        : rt_fail(RT_E_ARGUMENT,
                                  "%s: no layers of student and teacher match by themselves; say which, as in "
                                  "layers=layer1:layer2",
                                  row->name);
}

/* ---- terms ---- */

static rt_status parse_term(rt_trainer *t, const char *text, size_t length, rt_term *term) {
  char *copy = rt_arena_text(&t->arena, "%.*s", (int)length, text);
  char *options =
      copy ? rt_arena_text(&t->arena, "%s", copy[strcspn(copy, ":")] ? copy + strcspn(copy, ":") + 1 : "") : NULL;
  char *name = copy ? rt_arena_text(&t->arena, "%.*s", (int)strcspn(copy, ":"), copy) : NULL;
  if (!name || !options) return RT_E_MEMORY;
  for (char *p = options; *p; p++)
    if (*p == ',') *p = ' ';
  *term = (rt_term){.text = copy, .row = rt_loss_find(name)};
  if (!term->row) return rt_fail_in(RT_E_UNKNOWN, "losses");
  void *parsed = rt_arena_alloc(&t->arena, term->row->options_size);
  term->options = parsed;
  return parsed ? rt_options_parse(term->row->options, parsed, options, &t->arena, name) : RT_E_MEMORY;
}

static rt_status check_teacher(const rt_trainer *t, const rt_term *term) {
  const rt_objective *o = &t->objective;
  bool wanted = term->row->needs & (RT_LOSS_TEACHER | RT_LOSS_LAYERS);
  if (wanted && !o->teachers)
    return rt_fail(RT_E_ARGUMENT, "%s learns from a teacher, and there is none: name it, as in teacher=FILE",
                   term->row->name);
  if (t->data->unlabelled && (term->row->needs & RT_LOSS_LABELS) && !term->row->spares_unlabelled)
    return rt_fail(RT_E_ARGUMENT, "%s needs every image's label, and %lld of the training images have none: kd doesn't",
                   term->row->name, (long long)t->data->unlabelled);
  if (t->soft && (term->row->needs & RT_LOSS_LABELS) && !term->row->spares_unlabelled)
    return rt_fail(RT_E_ARGUMENT,
                   "%s needs class numbers, and augment=%s mixes them: leave mixup and cutmix out, or take kd",
                   term->row->name, t->o.augment);
  if (term->options->from > o->teachers)
    return rt_fail(RT_E_ARGUMENT, "%s: from=%lld, and there %s %d teacher%s", term->row->name,
                   (long long)term->options->from, o->teachers == 1 ? "is" : "are", o->teachers,
                   o->teachers == 1 ? "" : "s");
  return RT_OK;
}

/* ---- taps ---- */

static rt_status add_tap(rt_trainer *t, const char *name, size_t length, bool of_student) {
  rt_objective *o = &t->objective;
  rt_tap tap = {.name = rt_arena_text(&t->arena, "%.*s", (int)length, name), .network = of_student ? RT_STUDENT : 0};
  int k, dot = 0;
  if (!tap.name) return RT_E_MEMORY;
  tap.layer = tap.name;
  if (!of_student && o->teachers > 1 && sscanf(tap.name, "teacher%d.%n", &k, &dot) == 1 && dot > 0 && k >= 1 &&
      k <= o->teachers) {
    tap.network = k - 1;
    tap.layer = tap.name + dot;
  }
  for (int i = 0; i < o->taps; i++)
    if ((o->tap[i].network == RT_STUDENT) == of_student && strcmp(o->tap[i].name, tap.name) == 0) return RT_OK;
  if (o->taps == RT_MOST_TAPS) return rt_fail(RT_E_ARGUMENT, "train: losses compare more than %d layers", RT_MOST_TAPS);
  o->tap[o->taps++] = tap;
  return RT_OK;
}

/* "layer1:layer1+layer3": the same name for both where there is only one. */
static rt_status add_taps(rt_trainer *t, const char *pairs, bool own) {
  rt_status s = RT_OK;
  for (const char *p = pairs; *p && s == RT_OK; p += *p == '+') {
    size_t n = strcspn(p, "+"), colon = strcspn(p, ":");
    if (colon >= n) colon = n;
    s = add_tap(t, p, colon, true);
    if (s == RT_OK && !own) s = colon < n ? add_tap(t, p + colon + 1, n - colon - 1, false) : add_tap(t, p, n, false);
    p += n;
  }
  return s;
}

/* A term that compares layers says which. */
static rt_status choose_layers(rt_trainer *t, rt_graph *student, rt_term *term) {
  pairing p = {.t = t, .student = student};
  const char *pairs = term->options->layers;
  rt_status s = RT_OK;
  bool own = (term->row->needs & RT_LOSS_OWN_LAYERS) != 0;
  if (!*pairs && !own && strcmp(t->o.layers, "auto") != 0) pairs = t->o.layers;
  if (!*pairs) {
    s = choose_pairs(&p, term->row);
    pairs = s == RT_OK ? rt_arena_text(&t->arena, "%s", p.text.text) : "";
  }
  rt_strbuf_release(&p.text);
  if (s != RT_OK || !pairs) return s != RT_OK ? s : RT_E_MEMORY;
  if (!*term->options->layers)
    term->text = rt_arena_text(&t->arena, "%s%slayers=%s", term->text, strchr(term->text, ':') ? "," : ":", pairs);
  return term->text ? add_taps(t, pairs, own) : RT_E_MEMORY;
}

static rt_status read_terms(rt_trainer *t) {
  rt_objective *o = &t->objective;
  rt_status s = RT_OK;
  bool wanted = false;
  for (const char *p = t->o.losses; *p && s == RT_OK;) {
    while (isspace((unsigned char)*p)) p++;
    size_t n = strcspn(p, " \t\n");
    if (!n) break;
    if (o->terms == RT_MOST_TERMS) return rt_fail(RT_E_ARGUMENT, "train: losses has more than %d terms", RT_MOST_TERMS);
    rt_term *term = &o->term[o->terms];
    s = parse_term(t, p, n, term);
    if (s == RT_OK) s = check_teacher(t, term);
    if (s != RT_OK) return s;
    wanted |= (term->row->needs & (RT_LOSS_TEACHER | RT_LOSS_LAYERS)) != 0;
    o->terms++;
    p += n;
  }
  if (s == RT_OK && o->teachers && !wanted)
    s = rt_fail(RT_E_ARGUMENT,
                "train: there is a teacher or a peer, and no term of losses=%s learns from it: add one, as in kd",
                t->o.losses);
  return s;
}

/* Every layer is there, and has a shape. */
static rt_status look_at(rt_trainer *t, rt_tap *tap, rt_graph *g) {
  const rt_value *v = rt_tap_find(g, tap->layer);
  rt_strbuf shape = {0};
  if (!v) return unknown_layer(t, tap, g);
  for (int d = 1; d < v->type.rank; d++) rt_strbuf_add(&shape, "%s%lld", d > 1 ? "x" : "", (long long)v->type.dim[d]);
  tap->shape = shape.failed ? NULL : rt_arena_text(&t->arena, "%s", shape.length ? shape.text : "");
  rt_strbuf_release(&shape);
  return tap->shape ? RT_OK : RT_E_MEMORY;
}

/* Pairs are chosen in the models as they are, before any pass. */
static rt_status choose_all_layers(rt_trainer *t) {
  rt_objective *o = &t->objective;
  rt_store *store;
  rt_graph *student = NULL;
  rt_value *logits;
  rt_status s = rt_store_new(&store);
  if (s == RT_OK) s = rt_graph_new(store, &student);
  if (s == RT_OK) s = rt_train_model(t, student, &logits);
  for (int i = 0; i < o->terms && s == RT_OK; i++)
    if (o->term[i].row->needs & (RT_LOSS_LAYERS | RT_LOSS_OWN_LAYERS)) s = choose_layers(t, student, &o->term[i]);
  for (int i = 0; i < o->taps && s == RT_OK; i++) {
    rt_tap *tap = &o->tap[i];
    s = look_at(t, tap, tap->network == RT_STUDENT ? student : o->teacher[tap->network].network->graph);
  }
  rt_graph_free(student);
  rt_store_free(store);
  return s;
}

/* ---- schedules ---- */

/* "kd.temperature: linear value=8 to=2; momentum: 0.95" */
static rt_status read_schedules(rt_trainer *t) {
  rt_objective *o = &t->objective;
  rt_status s = RT_OK;
  char *copy = rt_arena_text(&t->arena, "%s", t->o.schedules), *rest;
  if (!copy) return RT_E_MEMORY;
  for (char *one = strtok_r(copy, ";", &rest); one && s == RT_OK; one = strtok_r(NULL, ";", &rest)) {
    one += strspn(one, " \t\n");
    char *colon = strchr(one, ':');
    if (!*one) continue;
    if (!colon)
      return rt_fail(RT_E_ARGUMENT,
                     "train: schedules: \"%s\" is no NAME: SCHEDULE, as in kd.temperature: linear value=8 to=2", one);
    if (o->n_scheduled == RT_MOST_SCHEDULED)
      return rt_fail(RT_E_ARGUMENT, "train: more than %d schedules", RT_MOST_SCHEDULED);
    *colon = 0;
    rt_scheduled *to = &o->scheduled[o->n_scheduled];
    to->name = one;
    s = rt_schedule_new(colon + 1, &to->schedule);
    if (s == RT_OK)
      o->n_scheduled++;
    else
      s = rt_fail_in(s, "schedules: %s", one);
  }
  return s;
}

static bool ends_with(const char *text, const char *ending) {
  size_t n = strlen(text), m = strlen(ending);
  return n >= m && strcmp(text + n - m, ending) == 0;
}

/* Every step's value, before the first one. */
static rt_status check_schedule(const rt_trainer *t, const rt_scheduled *one) {
  bool temperature = ends_with(one->name, ".temperature");
  for (int64_t step = 0; step < t->steps; step++) {
    double v = rt_schedule_value(one->schedule, step, t->steps);
    if (isfinite(v) && (temperature ? v > 0 : v >= 0)) continue;
    return rt_fail(RT_E_RANGE, "schedules: %s is %g at step %lld: expected %s%s", one->name, v, (long long)step + 1,
                   temperature ? "a temperature above 0" : "at least 0",
                   temperature ? " (a warm-up begins at from=0 unless told otherwise)" : "");
  }
  return RT_OK;
}

static bool is_free_input(const rt_value *v) {
  static const char *const fed[] = {"lr", "share", "update", "observer_rate"};
  if (v->kind != RT_VALUE_INPUT || v->type.rank || v->type.dtype != RT_F32 || !v->data) return false;
  for (size_t i = 0; i < sizeof fed / sizeof *fed; i++)
    if (strcmp(v->name, fed[i]) == 0) return false;
  return true;
}

static rt_status bind_schedule(const rt_trainer *t, const rt_scheduled *one) {
  const rt_graph *g = t->training;
  rt_strbuf known = {0};
  char hint[64];
  rt_nearest nearest = {.word = one->name};
  for (int i = 0; i < g->n_values; i++) {
    const rt_value *v = g->value[i];
    if (!is_free_input(v)) continue;
    if (strcmp(v->name, one->name) == 0) {
      rt_strbuf_release(&known);
      return check_schedule(t, one);
    }
    rt_nearest_offer(&nearest, v->name);
    rt_strbuf_add(&known, "%s%s", known.length ? ", " : "", v->name);
  }
  rt_status s = rt_fail(RT_E_UNKNOWN, "schedules: this run has no number %s%s; it has %s%s", one->name,
                        rt_nearest_hint(&nearest, hint, sizeof hint), known.length ? known.text : "none",
                        strcmp(one->name, "lr") == 0 ? "; the learning rate's is the setting schedule" : "");
  rt_strbuf_release(&known);
  return s;
}

rt_status rt_objective_bind(rt_trainer *t) {
  rt_objective *o = &t->objective;
  rt_status s = RT_OK;
  o->outputs = 0;
  for (int i = 0; i < t->training->n_outputs && o->outputs < 2 * RT_MOST_TERMS; i++)
    if (strncmp(t->training->output[i].name, "loss.", 5) == 0) o->output[o->outputs++] = t->training->output[i].name;
  for (int i = 0; i < o->n_scheduled && s == RT_OK; i++) s = bind_schedule(t, &o->scheduled[i]);
  return s;
}

/* ---- all of it ---- */

rt_status rt_objective_open(rt_trainer *t) {
  rt_status s = rt_teachers_open(t);
  if (s == RT_OK) s = read_terms(t);
  if (s == RT_OK) s = choose_all_layers(t);
  return s == RT_OK ? read_schedules(t) : s;
}

void rt_objective_close(rt_trainer *t) {
  for (int i = 0; i < t->objective.n_scheduled; i++) rt_schedule_free(t->objective.scheduled[i].schedule);
  rt_teachers_close(t);
}

/* The weighted mean of the teachers' logits, where a term wants it. */
static rt_value *mean_logits(const rt_trainer *t, rt_graph *g, rt_value *const *teacher) {
  const rt_objective *o = &t->objective;
  bool wanted = false;
  for (int i = 0; i < o->terms; i++) wanted |= (o->term[i].row->needs & RT_LOSS_TEACHER) && !o->term[i].options->from;
  if (!wanted || o->teachers < 2) return o->teachers ? teacher[0] : NULL;
  rt_value *sum = NULL;
  for (int k = 0; k < o->teachers && g->status == RT_OK; k++) {
    const rt_network_info *first = &o->teacher[0].network->info, *n = &o->teacher[k].network->info;
    if (n->classes != first->classes)
      rt_graph_failed(g,
                      rt_fail(RT_E_SHAPE,
                              "teachers 1 and %d tell %lld and %lld classes apart: there is no mean of their logits. "
                              "Terms may learn from one of them, as in kd:from=1",
                              k + 1, (long long)first->classes, (long long)n->classes));
    rt_value *part = rt_mul(g, teacher[k], rt_scalar(g, o->teacher[k].weight));
    sum = sum ? rt_add(g, sum, part) : part;
  }
  return sum;
}

static void alpha_text(const rt_trainer *t, char text[64]) {
  static const char *const is[] = {"unsaid", "hard", "soft"};
  text[0] = 0;
  if (*t->o.alpha || t->o.alpha_is)
    snprintf(text, 64, "%s%.24s alpha_is=%s", *t->o.alpha ? "alpha=" : "", t->o.alpha, is[t->o.alpha_is]);
}

/* The terms that look at logits alone, as texts of a peer's: "kd:temperature=1,as=peer1.kd2". */
static int peer_terms(const rt_objective *o, const rt_teacher *peer, rt_graph *g, const char *term[RT_MOST_TERMS]) {
  int n = 0;
  for (int i = 0; i < o->terms; i++) {
    const rt_term *one = &o->term[i];
    rt_strbuf text = {0};
    int same = 1;
    if (one->row->needs & (RT_LOSS_LAYERS | RT_LOSS_OWN_LAYERS)) continue;
    for (int k = 0; k < i; k++) same += o->term[k].row == one->row && !*o->term[k].options->as;
    rt_strbuf_add(&text, "%s:as=%s%s", one->row->name, peer->prefix,
                  *one->options->as ? one->options->as : one->row->name);
    if (same > 1 && !*one->options->as) rt_strbuf_add(&text, "%d", same);
    for (const char *p = one->text + strcspn(one->text, ":,"); *p; p += strcspn(p, ",")) {
      size_t length = strcspn(++p, ",");
      if (strncmp(p, "as=", 3) != 0) rt_strbuf_add(&text, ",%.*s", (int)length, p);
    }
    term[n] = text.failed ? rt_graph_failed(g, RT_E_MEMORY) : rt_arena_text(&g->arena, "%s", text.text);
    n += term[n] != NULL;
    rt_strbuf_release(&text);
  }
  return n;
}

/* What peer k learns from: the labels, the teachers, and the others, the student in its own place. */
static rt_value *peer_total(const rt_trainer *t, int k, rt_graph *g, rt_value *student, rt_value *const *teacher,
                            rt_value *labels) {
  const rt_objective *o = &t->objective;
  const char *term[RT_MOST_TERMS];
  rt_value *others[RT_MOST_TEACHERS];
  char alpha[64];
  alpha_text(t, alpha);
  int n = peer_terms(o, &o->teacher[k], g, term);
  if (!n && g->status == RT_OK)
    return rt_graph_failed(g, rt_fail(RT_E_ARGUMENT,
                                      "peers learn by terms that look at logits, and losses=%s has none: add "
                                      "one, as in kd",
                                      t->o.losses));
  memcpy(others, teacher, (size_t)o->teachers * sizeof *others);
  others[k] = student;
  rt_loss_inputs in = {.student = teacher[k],
                       .teacher = mean_logits(t, g, others),
                       .teachers = others,
                       .n_teachers = o->teachers,
                       .labels = labels};
  return rt_loss(g, term, n, alpha, &in);
}

rt_value *rt_objective_build(const rt_trainer *t, rt_graph *g, rt_value *student, rt_value *const *teacher,
                             rt_value *labels, const rt_layer *taps) {
  const rt_objective *o = &t->objective;
  const char *term[RT_MOST_TERMS];
  rt_layer layer[2][RT_MOST_TAPS];
  int n[2] = {0, 0};
  char alpha[64];
  for (int i = 0; i < o->terms; i++) term[i] = o->term[i].text;
  for (int i = 0; i < o->taps; i++) {
    int side = o->tap[i].network != RT_STUDENT;
    layer[side][n[side]++] = taps[i];
  }
  alpha_text(t, alpha);
  rt_loss_inputs in = {.student = student,
                       .teacher = mean_logits(t, g, teacher),
                       .teachers = teacher,
                       .n_teachers = o->teachers,
                       .labels = labels,
                       .student_layer = layer[0],
                       .teacher_layer = layer[1],
                       .student_layers = n[0],
                       .teacher_layers = n[1]};
  rt_value *total = rt_loss(g, term, o->terms, alpha, &in);
  for (int k = 0; k < o->teachers && total; k++)
    if (o->teacher[k].peer) total = rt_add(g, total, peer_total(t, k, g, student, teacher, labels));
  return total;
}
