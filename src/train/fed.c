/* What teachers say of a batch where the step doesn't compute it: kept from before (cache.c) or brought from elsewhere
 * (outputs.c). To the step it is inputs. */
#include "base/alloc.h"
#include "pass/pass.h"
#include "train/train.h"

#include <string.h>

/* ---- which ---- */

static const char *input_name(const rt_trainer *t, int k, const char *what) {
  return rt_arena_text(&t->store->arena, "%s%s", t->objective.teacher[k].prefix, what);
}

static rt_fed *find(rt_fed_list *list, const char *name) {
  for (int i = 0; i < list->n; i++)
    if (strcmp(list->fed[i].name, name) == 0) return &list->fed[i];
  return NULL;
}

/* A value of a teacher's graph becomes an input of the step. */
static rt_status add_fed(rt_trainer *t, const char *name, const rt_value *v, rt_outputs *from) {
  rt_fed_list *list = &t->fed;
  if (!name) return RT_E_MEMORY;
  if (find(list, name)) return RT_OK;
  int64_t images = (t->o.batch + t->o.accumulate - 1) / t->o.accumulate;
  rt_fed *fed = &list->fed[list->n];
  *fed = (rt_fed){.name = name, .dtype = v->type.dtype, .rank = v->type.rank, .from = from};
  fed->bytes = (int64_t)rt_dtype_size(v->type.dtype);
  for (int d = 1; d < v->type.rank; d++) {
    fed->dim[d] = v->type.dim[d];
    if (fed->dim[d] < 1) return rt_fail(RT_E_INTERNAL, "%s: its shape isn't known", name);
    fed->bytes *= fed->dim[d];
  }
  fed->data = rt_alloc_large((size_t)(images * fed->bytes));
  if (!fed->data) return RT_E_MEMORY;
  list->n++;
  return RT_OK;
}

static rt_status inline_teacher(rt_trainer *t, int k, rt_graph *g, rt_value *x) {
  const rt_objective *o = &t->objective;
  rt_value *logits;
  rt_layer taps[RT_MOST_TAPS];
  rt_status s = rt_teacher_inline(t, k, g, x, &logits, taps);
  if (s == RT_OK) s = add_fed(t, input_name(t, k, "logits"), logits, NULL);
  if (s == RT_OK) rt_mark_output(g, input_name(t, k, "logits"), logits);
  for (int i = 0; i < o->taps && s == RT_OK; i++) {
    if (o->tap[i].network != k) continue;
    s = add_fed(t, input_name(t, k, o->tap[i].layer), taps[i].value, NULL);
    if (s == RT_OK) rt_mark_output(g, input_name(t, k, o->tap[i].layer), taps[i].value);
  }
  return s == RT_OK ? rt_graph_status(g) : s;
}

/* Its logits, and what is compared of it. */
static rt_status open_outputs(rt_trainer *t, int k) {
  const rt_objective *o = &t->objective;
  const rt_teacher *teacher = &o->teacher[k];
  rt_graph *g = teacher->network->graph;
  rt_status s = RT_OK;
  for (int i = -1; i < o->taps && s == RT_OK; i++) {
    if (i >= 0 && o->tap[i].network != k) continue;
    const rt_value *v = i < 0 ? rt_find(g, "logits") : rt_tap_find(g, o->tap[i].layer);
    const rt_value *input = v->node->in[0];
    s = rt_outputs_load(teacher->outputs, input->name);
    if (s == RT_OK) s = add_fed(t, rt_arena_text(&t->arena, "%s", input->name), input, teacher->outputs);
  }
  return s;
}

static rt_status open_cached(rt_trainer *t) {
  const rt_data_info *d = &t->info;
  int running = 0;
  for (int k = 0; k < t->objective.teachers; k++) running += rt_teacher_runs(t, k);
  if (!running)
    return rt_fail(RT_E_ARGUMENT,
                   "cache_teacher=%s keeps what teachers say, and there is none that runs: name one, as in "
                   "teacher=FILE",
                   t->o.cache_teacher);
  if (t->o.teacher_mode == RT_TEACHER_TRAIN)
    return rt_fail(
        RT_E_ARGUMENT,
        "cache_teacher: with teacher_mode=train what a teacher says of an image depends on the others of its "
        "batch, and can't be kept; leave one of the two out");
  rt_status s = rt_graph_new(t->store, &t->fed.graph);
  if (s != RT_OK) return s;
  rt_graph *g = t->fed.graph;
  rt_dim dim[] = {rt_symbol(g, "batch"), d->channels, d->height, d->width};
  rt_value *x = rt_input(g, "x", RT_F32, 4, dim);
  s = rt_graph_status(g);
  for (int k = 0; k < t->objective.teachers && s == RT_OK; k++)
    if (rt_teacher_runs(t, k)) s = inline_teacher(t, k, g, x);
  return s == RT_OK ? rt_cache_open(t) : s;
}

rt_status rt_fed_open(rt_trainer *t) {
  rt_status s = *t->o.cache_teacher ? open_cached(t) : RT_OK;
  for (int k = 0; k < t->objective.teachers && s == RT_OK; k++)
    if (t->objective.teacher[k].outputs) s = open_outputs(t, k);
  return s;
}

rt_status rt_fed_plan(rt_trainer *t) {
  rt_plan_options options = {.kernels = (rt_kernels)t->o.kernels};
  for (int i = 0; i < t->fed.n; i++) t->fed.fed[i].live = rt_find(t->training, t->fed.fed[i].name) != NULL;
  if (!t->fed.graph) return RT_OK;
  rt_status s = rt_pass_layout(&t->fed.graph);
  if (s == RT_OK) s = rt_pass_prune(&t->fed.graph);
  return s == RT_OK ? rt_plan_new(t->fed.graph, &options, &t->fed.plan) : s;
}

void rt_fed_close(rt_trainer *t) {
  rt_cache_close(t->fed.cache);
  rt_plan_free(t->fed.plan);
  rt_graph_free(t->fed.graph);
  for (int i = 0; i < t->fed.n; i++) rt_free(t->fed.fed[i].data);
}

/* ---- in the training graph ---- */

static rt_value *input(const rt_trainer *t, rt_graph *g, int k, const char *what) {
  rt_dim dim[RT_MAX_RANK];
  rt_fed_list list = t->fed;
  const char *name = input_name(t, k, what);
  const rt_fed *fed = name ? find(&list, name) : NULL;
  if (!fed) return rt_graph_failed(g, name ? rt_fail(RT_E_INTERNAL, "%s isn't fed", name) : RT_E_MEMORY);
  for (int d = 1; d < fed->rank; d++) dim[d] = fed->dim[d];
  dim[0] = rt_symbol(g, "batch");
  return rt_input(g, name, fed->dtype, fed->rank, dim);
}

rt_status rt_fed_inline(const rt_trainer *t, int k, rt_graph *g, rt_value **logits, rt_layer *taps) {
  const rt_objective *o = &t->objective;
  *logits = input(t, g, k, "logits");
  for (int i = 0; i < o->taps; i++)
    if (o->tap[i].network == k) taps[i] = (rt_layer){o->tap[i].name, input(t, g, k, o->tap[i].layer)};
  return rt_graph_status(g);
}

/* ---- at a step ---- */

/* All of them of n images, from the teachers themselves. */
static rt_status ask_teachers(rt_trainer *t, const float *x, int64_t n) {
  const rt_data_info *d = &t->info;
  int64_t dim[] = {n, d->channels, d->height, d->width};
  rt_feed feed = {"x", 4, dim, x};
  rt_status s = rt_plan_run(t->fed.plan, &feed, 1);
  for (int i = 0; i < t->fed.n && s == RT_OK; i++) {
    rt_result r;
    if (t->fed.fed[i].from) continue;
    s = rt_plan_result(t->fed.plan, t->fed.fed[i].name, &r);
    if (s == RT_OK) memcpy(t->fed.fed[i].data, r.data, (size_t)(n * t->fed.fed[i].bytes));
  }
  return s;
}

rt_status rt_fed_take(rt_trainer *t, const rt_batch *b, int64_t from, int64_t n) {
  int64_t missing = 0;
  for (int i = 0; i < t->fed.n; i++)
    if (t->fed.fed[i].from) rt_outputs_take(t->fed.fed[i].from, &t->fed.fed[i], b->id + from, n);
  if (!t->fed.cache) return RT_OK;
  rt_status s = rt_cache_read(t, b->id + from, b->draw + from, n, &missing);
  if (s != RT_OK || !missing) return s;
  s = ask_teachers(t, b->x + from * b->channels * b->height * b->width, n);
  return s == RT_OK ? rt_cache_write(t, b->id + from, b->draw + from, n) : s;
}
