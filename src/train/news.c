/* What happens in a run, told three times: to the listener, as a line of JSON, to TensorBoard. */
#include "base/alloc.h"
#include "base/clock.h"
#include "train/train.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

static int64_t evaluated_images(const rt_trainer *t) { return t->info.count[RT_VALIDATION]; }

static rt_news describe(const rt_trainer *t, rt_news_kind kind) {
  const rt_train_state *s = &t->state;
  int64_t seen = s->seen ? s->seen : 1, first = s->epochs * t->epoch_steps;
  double left = (double)(t->steps - s->step) * (double)t->o.batch;
  left += (double)((t->o.epochs - s->epochs) * evaluated_images(t)) / 3; /* forward only */
  return (rt_news){.kind = kind,
                   .directory = t->run.path,
                   .epoch = s->epochs < t->o.epochs ? s->epochs : t->o.epochs - 1,
                   .epochs = t->o.epochs,
                   .step = s->step,
                   .steps = t->steps,
                   .index = s->step - first,
                   .count = t->epoch_steps,
                   .loss = s->loss_sum / (double)seen,
                   .accuracy = (double)s->correct / (double)seen,
                   .lr = t->lr * rt_schedule_value(t->schedule, s->step ? s->step - 1 : 0, t->steps),
                   .images_per_second = t->rate,
                   .seconds_left = t->rate > 0 ? left / t->rate : 0,
                   .validation = t->last};
}

static void tell(rt_trainer *t, const rt_news *news) {
  if (t->listen && !t->listen(t->context, news)) t->stop = true;
}

/* Tell it with its line, which goes to metrics.jsonl too. Takes the line. */
static rt_status publish(rt_trainer *t, rt_news *news, cJSON *line) {
  char *text = line ? cJSON_PrintUnformatted(line) : NULL;
  cJSON_Delete(line);
  if (!text) return rt_fail(RT_E_MEMORY, "train: out of memory for a line of metrics.jsonl");
  rt_status s = rt_run_line(&t->run, text);
  news->json = text;
  if (s == RT_OK) tell(t, news);
  cJSON_free(text);
  return s;
}

static cJSON *new_line(const rt_trainer *t, const char *event) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "event", event);
  cJSON_AddNumberToObject(o, "step", (double)t->state.step);
  return o;
}

static void add_score(cJSON *o, const char *name, const rt_score *score) {
  if (!score->images) return;
  cJSON *part = cJSON_AddObjectToObject(o, name);
  cJSON_AddNumberToObject(part, "images", (double)score->images);
  cJSON_AddNumberToObject(part, "correct", (double)score->correct);
  cJSON_AddNumberToObject(part, "top1", score->top1);
  cJSON_AddNumberToObject(part, "top5", score->top5);
  cJSON_AddNumberToObject(part, "loss", score->loss);
  cJSON_AddNumberToObject(part, "ece", score->ece);
}

/* What is learned: the sum, the teachers, the layers that are compared. */
static rt_status add_objective(cJSON *line, const rt_trainer *t) {
  const rt_objective *o = &t->objective;
  rt_strbuf sum = {0};
  rt_explain_sum(t, &sum);
  rt_status s = sum.failed ? RT_E_MEMORY : RT_OK;
  if (s == RT_OK) cJSON_AddStringToObject(line, "loss", sum.text);
  rt_strbuf_release(&sum);
  if (s != RT_OK || !o->teachers) return s;
  cJSON *teachers = cJSON_AddArrayToObject(line, "teachers");
  for (int k = 0; k < o->teachers; k++) {
    cJSON *one = cJSON_CreateObject();
    if (!cJSON_AddItemToArray(teachers, one)) continue;
    cJSON_AddStringToObject(one, "file", o->teacher[k].text);
    cJSON_AddStringToObject(one, "model", o->teacher[k].network->info.model);
    cJSON_AddNumberToObject(one, "weight", o->teacher[k].weight);
  }
  cJSON *layers = cJSON_AddArrayToObject(line, "layers");
  for (int i = 0; i < o->taps; i++) {
    cJSON *one = cJSON_CreateObject();
    if (!cJSON_AddItemToArray(layers, one)) continue;
    cJSON_AddStringToObject(one, "network", o->tap[i].network == RT_STUDENT ? "student" : "teacher");
    cJSON_AddStringToObject(one, "layer", o->tap[i].name);
    cJSON_AddStringToObject(one, "shape", o->tap[i].shape);
  }
  cJSON_AddNumberToObject(line, "adapter_parameters", (double)rt_adapter_parameters(t));
  return RT_OK;
}

rt_status rt_news_begin(rt_trainer *t, bool resumed) {
  rt_news news = describe(t, RT_NEWS_BEGIN);
  cJSON *o = new_line(t, resumed ? "resume" : "begin");
  cJSON_AddStringToObject(o, "directory", t->run.path);
  cJSON_AddStringToObject(o, "model", t->model);
  cJSON_AddNumberToObject(o, "parameters", (double)t->parameters);
  rt_status s = add_objective(o, t);
  cJSON_AddNumberToObject(o, "epochs", (double)t->o.epochs);
  cJSON_AddNumberToObject(o, "steps", (double)t->steps);
  cJSON_AddNumberToObject(o, "training_images", (double)t->info.count[RT_TRAIN]);
  cJSON_AddNumberToObject(o, "validation_images", (double)t->info.count[RT_VALIDATION]);
  cJSON_AddNumberToObject(o, "test_images", (double)t->info.count[RT_TEST]);
  if (s == RT_OK) return publish(t, &news, o);
  cJSON_Delete(o);
  return s;
}

rt_status rt_news_note(rt_trainer *t, const char *format, ...) {
  rt_news news = describe(t, RT_NEWS_NOTE);
  char text[1536];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  news.text = text;
  cJSON *o = new_line(t, "note");
  cJSON_AddStringToObject(o, "text", text);
  return publish(t, &news, o);
}

/* "losses": {"kd": 1.2, "kd.weighted": 0.8, …}, and what schedules gave. */
static void add_terms(cJSON *line, const rt_trainer *t) {
  const rt_objective *o = &t->objective;
  cJSON *losses = cJSON_AddObjectToObject(line, "losses");
  for (int i = 0; i < o->outputs; i++) cJSON_AddNumberToObject(losses, o->output[i] + strlen("loss."), o->value[i]);
  cJSON *scheduled = o->n_scheduled ? cJSON_AddObjectToObject(line, "scheduled") : NULL;
  for (int i = 0; i < o->n_scheduled; i++)
    cJSON_AddNumberToObject(scheduled, o->scheduled[i].name,
                            rt_schedule_value(o->scheduled[i].schedule, t->state.step - 1, t->steps));
}

rt_status rt_news_step(rt_trainer *t, double loss) {
  rt_news news = describe(t, RT_NEWS_STEP);
  if (t->state.step % t->o.log_steps) {
    tell(t, &news);
    return RT_OK;
  }
  cJSON *o = new_line(t, "step");
  cJSON_AddNumberToObject(o, "epoch", (double)news.epoch);
  cJSON_AddNumberToObject(o, "loss", loss);
  cJSON_AddNumberToObject(o, "epoch_loss", news.loss);
  cJSON_AddNumberToObject(o, "epoch_accuracy", news.accuracy);
  cJSON_AddNumberToObject(o, "lr", news.lr);
  cJSON_AddNumberToObject(o, "grad_norm", t->grad_norm);
  cJSON_AddNumberToObject(o, "images_per_second", news.images_per_second);
  add_terms(o, t);
  rt_status s = publish(t, &news, o);
  if (s == RT_OK) s = rt_events_scalar(t->events, "train/loss", t->state.step, loss);
  for (int i = 0; i < t->objective.outputs && s == RT_OK; i++)
    s = rt_events_scalar(t->events, t->objective.output[i], t->state.step, t->objective.value[i]);
  if (s == RT_OK) s = rt_events_scalar(t->events, "train/grad_norm", t->state.step, t->grad_norm);
  return s == RT_OK ? rt_events_scalar(t->events, "train/lr", t->state.step, news.lr) : s;
}

void rt_news_evaluate(rt_trainer *t, int64_t done, int64_t all) {
  rt_news news = describe(t, RT_NEWS_EVALUATE);
  news.index = done;
  news.count = all;
  tell(t, &news);
}

static rt_status add_histograms(rt_trainer *t, int64_t step) {
  rt_status s = RT_OK;
  for (int i = 0; i < t->store->n && s == RT_OK; i++) {
    const rt_var *v = t->store->var[i];
    if (v->segment == RT_SEGMENT_PARAMETER && v->type.rank > 1)
      s = rt_events_histogram(t->events, v->name, step, v->data, rt_type_elements(&v->type));
  }
  return s;
}

/* After an epoch: its counters are still there, and state.epochs is its number. */
rt_status rt_news_epoch(rt_trainer *t, bool best) {
  rt_news news = describe(t, RT_NEWS_EPOCH);
  news.best = best;
  news.images_per_second = t->epoch_time > 0 ? (double)t->epoch_images / t->epoch_time : 0;
  cJSON *o = new_line(t, "epoch");
  cJSON_AddNumberToObject(o, "epoch", (double)news.epoch);
  cJSON_AddNumberToObject(o, "loss", news.loss);
  cJSON_AddNumberToObject(o, "accuracy", news.accuracy);
  cJSON_AddNumberToObject(o, "lr", news.lr);
  cJSON_AddNumberToObject(o, "images_per_second", news.images_per_second);
  cJSON_AddNumberToObject(o, "seconds", rt_now() - t->began);
  add_score(o, "validation", &t->last);
  cJSON_AddBoolToObject(o, "best", best);
  const struct {
    const char *tag;
    double value;
    bool there;
  } scalar[] = {{"train/epoch_loss", news.loss, true},
                {"train/accuracy", news.accuracy, true},
                {"images_per_second", news.images_per_second, true},
                {"validation/accuracy", t->last.top1, t->last.images > 0},
                {"validation/loss", t->last.loss, t->last.images > 0},
                {"validation/ece", t->last.ece, t->last.images > 0}};
  rt_status s = publish(t, &news, o);
  for (size_t i = 0; i < sizeof scalar / sizeof *scalar && s == RT_OK; i++)
    if (scalar[i].there) s = rt_events_scalar(t->events, scalar[i].tag, t->state.step, scalar[i].value);
  return s == RT_OK ? add_histograms(t, t->state.step) : s;
}

rt_status rt_news_end(rt_trainer *t, const rt_train_report *report) {
  rt_news news = describe(t, RT_NEWS_END);
  cJSON *o = new_line(t, "end");
  cJSON_AddNumberToObject(o, "epochs", (double)report->epochs);
  cJSON_AddNumberToObject(o, "best_epoch", (double)report->best_epoch);
  cJSON_AddBoolToObject(o, "stopped_early", report->stopped_early);
  add_score(o, "validation", &report->validation);
  add_score(o, "test", &report->test);
  cJSON_AddNumberToObject(o, "seconds", report->seconds);
  cJSON_AddStringToObject(o, "directory", t->run.path);
  rt_status s = publish(t, &news, o);
  return s == RT_OK && report->test.images
             ? rt_events_scalar(t->events, "test/accuracy", t->state.step, report->test.top1)
             : s;
}

rt_status rt_news_level(const rt_trainer *t, const float *x, rt_image *out) {
  const rt_data_info *d = &t->info;
  int64_t pixels = d->height * d->width;
  *out = (rt_image){.height = d->height, .width = d->width, .channels = d->channels};
  out->pixel = rt_alloc_array((size_t)pixels, (size_t)d->channels);
  if (!out->pixel) return RT_E_MEMORY;
  for (int64_t c = 0; c < d->channels; c++)
    for (int64_t p = 0; p < pixels; p++) {
      float level = (x[c * pixels + p] * d->deviation[c] + d->mean[c]) * 255 + 0.5f;
      out->pixel[p * d->channels + c] = level <= 0 ? 0 : level >= 255 ? 255 : (uint8_t)level;
    }
  return RT_OK;
}

/* Some images as the network gets them. */
rt_status rt_news_images(rt_trainer *t, const rt_batch *batch) {
  enum { MOST = 8 };
  const rt_data_info *d = &t->info;
  int64_t n = batch->n < MOST ? batch->n : MOST;
  rt_status s = RT_OK;
  if (d->dtype != RT_U8 || (d->channels != 1 && d->channels != 3)) return RT_OK;
  for (int64_t i = 0; i < n && s == RT_OK; i++) {
    char tag[64];
    rt_image image;
    s = rt_news_level(t, batch->x + i * d->channels * d->height * d->width, &image);
    snprintf(tag, sizeof tag, "train/image %lld", (long long)i);
    if (s == RT_OK) s = rt_events_image(t->events, tag, t->state.step, &image);
    rt_image_release(&image);
  }
  return s;
}
