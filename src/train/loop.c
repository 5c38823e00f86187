/* Steps and epochs. All that a run is at any moment is the store and rt_train_state: whatever ends it, it goes on from the
 * last checkpoint as if nothing had been. */
#include "base/clock.h"
#include "train/train.h"

#include <stdio.h>
#include <string.h>

/* ---- a step ---- */

static void add(rt_train_feeds *f, const char *name, int rank, const int64_t *dim, const void *data) {
  f->feed[f->n++] = (rt_feed){name, rank, dim, data};
}

/* Images `from` to `from + n` of the batch, part `part` of the step. */
static void feed_part(rt_trainer *t, const rt_batch *b, int64_t from, int64_t n, int64_t part, rt_train_feeds *f) {
  const rt_data_info *d = &t->info;
  *f = (rt_train_feeds){.image = {n, d->channels, d->height, d->width},
                        .target = {n, d->classes},
                        .seed = (int64_t)rt_settings_number(t->o.dropout_seed),
                        .draw = t->state.step * t->o.accumulate + part,
                        .lr = (float)(t->lr * rt_schedule_value(t->schedule, t->state.step, t->steps)),
                        .share = (float)n / (float)b->n,
                        .update = from + n == b->n ? 1 : 0,
                        .observer_rate = rt_qat_observer_rate(t)};
  add(f, "x", 4, f->image, b->x + from * d->channels * d->height * d->width);
  if (t->soft)
    add(f, "target", 2, f->target, b->target + from * d->classes);
  else
    add(f, "target", 1, f->target, b->label + from);
  add(f, "lr", 0, NULL, &f->lr);
  if (rt_find(t->training, "dropout_seed")) add(f, "dropout_seed", 0, NULL, &f->seed);
  if (rt_find(t->training, "step")) add(f, "step", 0, NULL, &f->draw);
  if (t->o.accumulate > 1) add(f, "share", 0, NULL, &f->share);
  if (t->o.accumulate > 1) add(f, "update", 0, NULL, &f->update);
  if (rt_find(t->training, "observer_rate")) add(f, "observer_rate", 0, NULL, &f->observer_rate);
  for (int i = 0; i < t->objective.n_scheduled; i++) {
    const rt_scheduled *one = &t->objective.scheduled[i];
    f->scheduled[i] = (float)rt_schedule_value(one->schedule, t->state.step, t->steps);
    add(f, one->name, 0, NULL, &f->scheduled[i]);
  }
  for (int i = 0; i < t->fed.n; i++) {
    rt_fed *fed = &t->fed.fed[i];
    fed->dim[0] = n;
    if (fed->live) add(f, fed->name, fed->rank, fed->dim, fed->data);
  }
}

static rt_status scalar(const rt_plan *plan, const char *name, double *out) {
  rt_result r;
  rt_status s = rt_plan_result(plan, name, &r);
  if (s == RT_OK) *out = (double)*(const float *)r.data;
  return s;
}

static int64_t best_class(const float *row, int64_t classes) {
  int64_t best = 0;
  for (int64_t c = 1; c < classes; c++)
    if (row[c] > row[best]) best = c;
  return best;
}

/* Images whose highest logit is that of their target. */
static rt_status count_correct(const rt_trainer *t, const rt_train_feeds *f, int64_t *correct) {
  rt_result logits;
  int64_t classes = t->info.classes;
  const void *target = f->feed[1].data;
  rt_status s = rt_plan_result(t->train_plan, "logits", &logits);
  if (s != RT_OK) return s;
  for (int64_t i = 0; i < f->image[0]; i++) {
    int64_t label = t->soft ? best_class((const float *)target + i * classes, classes) : ((const int64_t *)target)[i];
    *correct += best_class((const float *)logits.data + i * classes, classes) == label;
  }
  return RT_OK;
}

/* What the terms came to, over the parts of the step. */
static rt_status read_terms(rt_trainer *t, double share) {
  rt_objective *o = &t->objective;
  rt_status s = RT_OK;
  for (int i = 0; i < o->outputs && s == RT_OK; i++) {
    double value = 0;
    s = scalar(t->train_plan, o->output[i], &value);
    o->value[i] += share * value;
  }
  return s;
}

static rt_status run_part(rt_trainer *t, const rt_batch *b, int64_t from, int64_t n, int64_t part, double *loss,
                          int64_t *correct) {
  rt_train_feeds f;
  double value = 0, finite = 0;
  feed_part(t, b, from, n, part, &f);
  rt_status s = rt_fed_take(t, b, from, n);
  if (s == RT_OK) s = rt_plan_run(t->train_plan, f.feed, f.n);
  if (s == RT_OK) s = scalar(t->train_plan, "loss", &value);
  if (s == RT_OK) s = scalar(t->train_plan, "finite", &finite);
  if (s == RT_OK) s = scalar(t->train_plan, "grad_norm", &t->grad_norm);
  if (s == RT_OK && finite == 0) return rt_train_diagnose(t, &f, value);
  *loss += value * (double)n;
  if (s == RT_OK) s = read_terms(t, (double)n / (double)b->n);
  return s == RT_OK ? count_correct(t, &f, correct) : s;
}

/* The next batch. Where the data fail, what was reached so far is kept. */
static rt_status next_batch(rt_trainer *t, rt_batch *batch) {
  rt_status s = rt_loader_next(t->loader, batch);
  if (s == RT_OK || s == RT_E_MEMORY) return s;
  char sentence[1024];
  snprintf(sentence, sizeof sentence, "%s", rt_error());
  if (rt_train_checkpoint(t) == RT_OK)
    return rt_fail(s, "%s (the run can go on from step %lld: resume)", sentence, (long long)t->state.step);
  return rt_fail(s, "%s", sentence);
}

static rt_status make_step(rt_trainer *t) {
  rt_batch b;
  double begin = rt_now(), loss = 0;
  int64_t correct = 0;
  rt_status s = rt_qat_freezes(t) ? rt_train_freeze(t) : RT_OK;
  if (s == RT_OK) s = next_batch(t, &b);
  if (s == RT_OK && t->state.step == 0) s = rt_news_images(t, &b);
  memset(t->objective.value, 0, sizeof t->objective.value);
  int64_t each = s == RT_OK ? (b.n + t->o.accumulate - 1) / t->o.accumulate : 1;
  for (int64_t from = 0, part = 0; s == RT_OK && from < b.n; from += each, part++)
    s = run_part(t, &b, from, from + each < b.n ? each : b.n - from, part, &loss, &correct);
  if (s != RT_OK) return s;
  double seconds = rt_now() - begin, rate = (double)b.n / seconds;
  t->rate = t->rate > 0 ? 0.95 * t->rate + 0.05 * rate : rate;
  t->epoch_time += seconds;
  t->epoch_images += b.n;
  t->state.step++;
  t->state.loss_sum += loss;
  t->state.correct += correct;
  t->state.seen += b.n;
  s = rt_news_step(t, loss / (double)b.n);
  bool wanted = t->o.checkpoint_steps && t->state.step % t->o.checkpoint_steps == 0;
  return s == RT_OK && wanted ? rt_train_checkpoint(t) : s;
}

/* ---- an epoch ---- */

static rt_status evaluate_by(rt_trainer *t, rt_plan *plan) {
  rt_batch b = {0};
  rt_result logits;
  int64_t batches = rt_loader_batches(t->validation);
  rt_metrics_clear(t->metrics);
  rt_status s = rt_loader_seek(t->validation, 0, 0);
  for (int64_t i = 0; i < batches && s == RT_OK && !t->stop; i++) {
    s = rt_loader_next(t->validation, &b);
    int64_t dim[] = {b.n, b.channels, b.height, b.width};
    rt_feed feed = {"x", 4, dim, b.x};
    if (s == RT_OK) s = rt_plan_run(plan, &feed, 1);
    if (s == RT_OK) s = rt_plan_result(plan, "logits", &logits);
    if (s == RT_OK) s = rt_metrics_add(t->metrics, logits.data, b.label, b.n);
    rt_news_evaluate(t, i + 1, batches);
  }
  rt_metrics_score(t->metrics, &t->last);
  if (s != RT_E_RANGE) return s;
  char sentence[512];
  snprintf(sentence, sizeof sentence, "%s", rt_error());
  return rt_fail(RT_E_DIVERGED,
                 "step %lld: evaluating the epoch: %s. The last good checkpoint is in %s; a smaller lr may help",
                 (long long)t->state.step, sentence, t->run.path);
}

static rt_status evaluate(rt_trainer *t) {
  rt_network *int8;
  if (!t->o.quantize) return evaluate_by(t, t->evaluate_plan);
  rt_status s = rt_qat_network(t, &int8);
  if (s == RT_OK) s = evaluate_by(t, rt_network_plan(int8));
  rt_network_free(int8);
  return s;
}

/* More images right; of as many, the smaller loss. Without validation images the last is best. */
static bool is_better(const rt_trainer *t) {
  const rt_score *a = &t->last, *b = &t->state.best;
  if (!t->validation || t->state.best_epoch < 0) return true;
  return a->correct != b->correct ? a->correct > b->correct : a->loss < b->loss;
}

static rt_status save(rt_trainer *t, bool best) {
  rt_status s = rt_train_save_model(t, rt_student_file(t, best));
  return s == RT_OK ? rt_qat_save(t, best) : s;
}

/* Files before the checkpoint: a run that is killed in between comes here again, with the same weights. */
static rt_status end_epoch(rt_trainer *t) {
  rt_status s = t->validation ? evaluate(t) : RT_OK;
  if (s != RT_OK || t->stop) return s;
  bool best = is_better(t);
  if (best) {
    t->state.best = t->last;
    t->state.best_epoch = t->state.epochs;
    s = save(t, true);
  }
  if (s == RT_OK) s = save(t, false);
  if (s == RT_OK) s = rt_news_epoch(t, best);
  if (s != RT_OK) return s;
  t->state.epochs++;
  t->state.loss_sum = 0;
  t->state.correct = t->state.seen = t->epoch_images = 0;
  t->epoch_time = 0;
  return rt_train_checkpoint(t);
}

rt_status rt_train_loop(rt_trainer *t, bool *stopped_early) {
  rt_status s = RT_OK;
  *stopped_early = false;
  while (s == RT_OK && !t->stop && t->state.epochs < t->o.epochs) {
    int64_t waited = t->state.epochs - 1 - t->state.best_epoch;
    *stopped_early = t->o.patience && t->validation && waited >= t->o.patience;
    if (*stopped_early) break;
    if (t->state.step < (t->state.epochs + 1) * t->epoch_steps)
      s = make_step(t);
    else
      s = end_epoch(t);
  }
  return s == RT_OK && t->stop ? rt_train_checkpoint(t) : s;
}
