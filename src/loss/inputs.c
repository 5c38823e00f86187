#include "loss/inputs.h"

#include <string.h>

static bool wide(const rt_value *v) { return v && v->type.dtype == RT_F64; }

rt_dtype rt_loss_dtype(const rt_loss_inputs *in) {
  bool f64 = wide(in->student) || wide(in->teacher);
  for (int i = 0; i < in->student_layers; i++) f64 |= wide(in->student_layer[i].value);
  for (int i = 0; i < in->teacher_layers; i++) f64 |= wide(in->teacher_layer[i].value);
  return f64 ? RT_F64 : RT_F32;
}

static rt_value *detached(const rt_loss_build *b, rt_value *x) {
  return rt_loss_cast(b, rt_loss_op(b, "detach", x, NULL));
}

/* ---- logits and labels ---- */

static void need(const rt_loss_build *b, const rt_value *v, const char *what) {
  if (!v) rt_loss_fail(b, RT_E_ARGUMENT, "it needs %s", what);
}

static void check_logits(const rt_loss_build *b, const rt_value *v, const char *whose) {
  char text[RT_TYPE_TEXT];
  if (v && (v->type.rank != 2 || !rt_dtype_is_float(v->type.dtype)))
    rt_loss_fail(b, RT_E_SHAPE, "the %s's logits must be N×C and floating, found %s", whose,
                 rt_type_text(b->graph, &v->type, text, sizeof text));
}

static void check_batch(const rt_loss_build *b, const rt_value *s, const rt_value *t, const char *what) {
  if (rt_dims_conflict(s->type.dim[0], t->type.dim[0]))
    rt_loss_fail(b, RT_E_SHAPE, "%s: the student has %lld samples, the teacher %lld", what, (long long)s->type.dim[0],
                 (long long)t->type.dim[0]);
}

/* The teacher that the term learns from, or what stands for all. */
static rt_value *choose_teacher(const rt_loss_build *b, int64_t from, const rt_loss_inputs *in) {
  if (!from) return in->teacher;
  if (from <= in->n_teachers) return in->teachers[from - 1];
  rt_loss_fail(b, RT_E_ARGUMENT, "from=%lld, and the number of teachers is %d", (long long)from, in->n_teachers);
  return NULL;
}

static void take_logits(rt_loss_build *b, const rt_loss_row *row, rt_value *teacher, const rt_loss_inputs *in) {
  if (row->needs & RT_LOSS_STUDENT) need(b, in->student, "the student's logits, N×C");
  if (row->needs & RT_LOSS_TEACHER) need(b, teacher, "the teacher's logits, N×C");
  if (row->needs & RT_LOSS_LABELS) need(b, in->labels, "labels, N class numbers");
  if (row->needs & RT_LOSS_STUDENT) check_logits(b, in->student, "student");
  if (row->needs & RT_LOSS_TEACHER) check_logits(b, teacher, "teacher");
  if (b->graph->status != RT_OK) return;
  if (row->needs & RT_LOSS_STUDENT && row->needs & RT_LOSS_TEACHER) {
    const rt_dim *s = in->student->type.dim, *t = teacher->type.dim;
    if (rt_dims_conflict(s[1], t[1]))
      rt_loss_fail(b, RT_E_SHAPE,
                   "the student has %lld classes and the teacher %lld; both need the same ones. Losses that compare "
                   "layers (hint, attention_transfer, sp …) don't look at classes",
                   (long long)s[1], (long long)t[1]);
    check_batch(b, in->student, teacher, "logits");
  }
  if (row->needs & RT_LOSS_STUDENT) b->student = rt_loss_cast(b, in->student);
  if (row->needs & RT_LOSS_TEACHER) b->teacher = detached(b, teacher);
  if (row->needs & RT_LOSS_LABELS) {
    bool probabilities = rt_dtype_is_float(in->labels->type.dtype);
    b->labels = probabilities ? rt_loss_cast(b, in->labels) : in->labels;
  }
  if (row->knows_classes && in->labels && !rt_dtype_is_float(in->labels->type.dtype)) b->labels = in->labels;
}

/* ---- layers ---- */

static void unknown_layer(const rt_loss_build *b, const char *name, const rt_layer *layer, int n, const char *whose) {
  char hint[64];
  rt_nearest nearest = {.word = name};
  rt_strbuf known = {0};
  for (int i = 0; i < n; i++) {
    rt_nearest_offer(&nearest, layer[i].name);
    rt_strbuf_add(&known, "%s%s", i ? ", " : "", layer[i].name);
  }
  rt_loss_fail(b, RT_E_UNKNOWN, "the %s has no layer %s%s; it has %s", whose, name,
               rt_nearest_hint(&nearest, hint, sizeof hint), known.length ? known.text : "none");
  rt_strbuf_release(&known);
}

static const rt_layer *find_layer(const rt_loss_build *b, const char *name, const rt_layer *layer, int n,
                                  const char *whose) {
  for (int i = 0; i < n; i++)
    if (strcmp(layer[i].name, name) == 0) return &layer[i];
  unknown_layer(b, name, layer, n, whose);
  return NULL;
}

/* As N×C×H×W. */
static rt_value *image(const rt_loss_build *b, const rt_layer *layer, const char *whose) {
  char text[RT_TYPE_TEXT];
  rt_value *v = layer->value;
  if (!v || b->graph->status != RT_OK) return NULL;
  if (rt_dtype_is_float(v->type.dtype) && v->type.rank == 4) return v;
  if (rt_dtype_is_float(v->type.dtype) && v->type.rank == 2) return rt_loss_op(b, "reshape", v, "shape=0,0,1,1");
  rt_loss_fail(b, RT_E_SHAPE, "the %s's layer %s can't be adapted: expected N×C×H×W or N×C, floating, found %s", whose,
               layer->name, rt_type_text(b->graph, &v->type, text, sizeof text));
  return NULL;
}

/* t: NULL for a layer of the student alone. */
static void add_pair(rt_loss_build *b, rt_loss_pair *pairs, const rt_layer *s, const rt_layer *t) {
  rt_value *student = image(b, s, "student"), *teacher = t ? image(b, t, "teacher") : NULL;
  if (b->graph->status != RT_OK) return;
  if (!t) {
    pairs[b->pairs++] = (rt_loss_pair){s->name, rt_loss_cast(b, student), NULL};
    return;
  }
  check_batch(b, student, teacher, s->name);
  pairs[b->pairs++] = (rt_loss_pair){s->name, rt_loss_cast(b, student), detached(b, teacher)};
}

static rt_loss_pair *room(const rt_loss_build *b, int n) {
  rt_loss_pair *pairs = rt_arena_alloc(&b->graph->arena, (size_t)n * sizeof *pairs);
  if (!pairs) rt_graph_failed(b->graph, RT_E_MEMORY);
  return pairs;
}

static void take_all(rt_loss_build *b, bool own, const rt_loss_inputs *in) {
  if (!own && in->student_layers != in->teacher_layers)
    rt_loss_fail(b, RT_E_ARGUMENT,
                 "the student has %d layers to compare and the teacher %d; say which, as in layers=layer2:layer3",
                 in->student_layers, in->teacher_layers);
  rt_loss_pair *pairs = room(b, in->student_layers);
  b->pair = pairs;
  for (int i = 0; pairs && i < in->student_layers && b->graph->status == RT_OK; i++)
    add_pair(b, pairs, &in->student_layer[i], own ? NULL : &in->teacher_layer[i]);
}

/* "layer1:layer1+layer3:layer2" */
static void take_named(rt_loss_build *b, const char *text, bool own, const rt_loss_inputs *in) {
  int n = 1;
  for (const char *p = text; (p = strchr(p, '+')); p++) n++;
  rt_loss_pair *pairs = room(b, n);
  char *copy = rt_arena_text(&b->graph->arena, "%s", text), *rest;
  if (!pairs || !copy) {
    rt_graph_failed(b->graph, RT_E_MEMORY);
    return;
  }
  b->pair = pairs;
  for (char *pair = strtok_r(copy, "+", &rest); pair; pair = strtok_r(NULL, "+", &rest)) {
    char *colon = strchr(pair, ':');
    if (colon) *colon = 0; /* one name: the same for both */
    const char *teacher = colon ? colon + 1 : pair;
    const rt_layer *s = find_layer(b, pair, in->student_layer, in->student_layers, "student");
    const rt_layer *t = s && !own ? find_layer(b, teacher, in->teacher_layer, in->teacher_layers, "teacher") : NULL;
    if (!s || (!t && !own)) return;
    add_pair(b, pairs, s, t);
    if (b->graph->status != RT_OK) return;
  }
}

void rt_loss_take_inputs(rt_loss_build *b, const rt_loss_row *row, const rt_loss_options *options,
                         const rt_loss_inputs *in) {
  rt_value *teacher = row->needs & RT_LOSS_TEACHER ? choose_teacher(b, options->from, in) : NULL;
  take_logits(b, row, teacher, in);
  bool own = (row->needs & RT_LOSS_OWN_LAYERS) != 0;
  if (!(own || row->needs & RT_LOSS_LAYERS) || b->graph->status != RT_OK) return;
  if (*options->layers)
    take_named(b, options->layers, own, in);
  else
    take_all(b, own, in);
  if (b->pairs < row->least_layers)
    rt_loss_fail(b, RT_E_ARGUMENT, "it needs %d pair%s of layers, found %d", row->least_layers,
                 row->least_layers > 1 ? "s" : "", b->pairs);
}
