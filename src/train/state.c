/* The checkpoint: the whole store, with the counters of the run as metadata. */
#include "base/clock.h"
#include "kernel/kernel.h"
#include "train/train.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const file_name = "checkpoint.safetensors";

/* What must be the same for the same bits: noted, and compared when a run goes on. */
static void describe_machine(char *text, size_t size) {
  char backend[64];
  snprintf(text, size, "%s, %s, %s, %d threads", RT_VERSION, rt_isa_name(rt_cpu_get()->isa),
           rt_kernel_backend(backend, sizeof backend), rt_threads());
}

/* The data: other images would be another run. Mean and deviation change with every pixel. */
static void describe_data(const rt_data_info *d, char *text, size_t size) {
  snprintf(text, size,
           "%s, %lld training, %lld validation and %lld test images of %lld classes, mean %.9g, deviation %.9g",
           d->kind, (long long)d->count[RT_TRAIN], (long long)d->count[RT_VALIDATION], (long long)d->count[RT_TEST],
           (long long)d->classes, (double)d->mean[0], (double)d->deviation[0]);
}

/* The teachers' weights: with others the run would go another way. */
static void describe_teachers(const rt_objective *o, char *text, size_t size) {
  size_t n = 0;
  text[0] = 0;
  for (int i = 0; i < o->teachers && n < size; i++)
    n += (size_t)snprintf(text + n, size - n, "%s%016" PRIx64, i ? " " : "", o->teacher[i].hash);
}

enum { COUNTERS = 16, PAIRS = COUNTERS + 3, TEXT = 200 };

typedef struct counter {
  const char *key;
  int64_t *whole; /* either this */
  double *real;   /* or this */
} counter;

static int list_counters(rt_train_state *s, counter out[COUNTERS]) {
  const counter all[] = {
      {"step", &s->step, NULL},
      {"epochs", &s->epochs, NULL},
      {"log_bytes", &s->log_bytes, NULL},
      {"best_epoch", &s->best_epoch, NULL},
      {"best_images", &s->best.images, NULL},
      {"best_correct", &s->best.correct, NULL},
      {"best_correct5", &s->best.correct5, NULL},
      {"best_loss", NULL, &s->best.loss},
      {"best_ece", NULL, &s->best.ece},
      {"loss_sum", NULL, &s->loss_sum},
      {"correct", &s->correct, NULL},
      {"seen", &s->seen, NULL},
      {"seconds", NULL, &s->seconds},
  };
  int n = (int)(sizeof all / sizeof *all);
  memcpy(out, all, sizeof all);
  return n;
}

rt_status rt_train_checkpoint(rt_trainer *t) {
  counter list[COUNTERS];
  char text[PAIRS][TEXT], path[RT_RUN_PATH];
  rt_pair pair[PAIRS];
  t->state.seconds = rt_now() - t->began;
  t->state.log_bytes = rt_run_length(&t->run);
  int n = list_counters(&t->state, list);
  for (int i = 0; i < n; i++) {
    if (list[i].whole)
      snprintf(text[i], TEXT, "%" PRId64, *list[i].whole);
    else
      snprintf(text[i], TEXT, "%.17g", *list[i].real);
    pair[i] = (rt_pair){list[i].key, text[i]};
  }
  describe_machine(text[n], TEXT);
  pair[n] = (rt_pair){"machine", text[n]};
  describe_data(&t->info, text[n + 1], TEXT);
  pair[n + 1] = (rt_pair){"data", text[n + 1]};
  describe_teachers(&t->objective, text[n + 2], TEXT);
  pair[n + 2] = (rt_pair){"teachers", text[n + 2]};
  rt_status s = rt_store_save(t->store, rt_run_path(&t->run, file_name, path), RT_ALL, pair, n + 3);
  t->saved |= s == RT_OK;
  return s;
}

static rt_status read_counters(rt_trainer *t, const rt_file *file, const char *path) {
  counter list[COUNTERS];
  rt_train_state state = {0};
  int n = list_counters(&state, list);
  for (int i = 0; i < n; i++) {
    const char *text = rt_file_metadata(file, list[i].key);
    char *end = NULL;
    if (text && list[i].whole)
      *list[i].whole = strtoll(text, &end, 10);
    else if (text)
      *list[i].real = strtod(text, &end);
    if (!text || end == text || *end)
      return rt_fail(RT_E_FORMAT, "%s: its %s is %s: not a checkpoint to go on from", path, list[i].key,
                     text ? text : "missing");
  }
  int64_t whole = state.epochs * t->epoch_steps;
  if (state.step < whole || state.step > whole + t->epoch_steps || state.step > t->steps || state.epochs < 0 ||
      state.log_bytes < 0)
    return rt_fail(RT_E_FORMAT, "%s: step %lld of epoch %lld isn't in this run, which has %lld steps an epoch", path,
                   (long long)state.step, (long long)state.epochs, (long long)t->epoch_steps);
  double images = state.best.images ? (double)state.best.images : 1;
  state.best.top1 = (double)state.best.correct / images;
  state.best.top5 = (double)state.best.correct5 / images;
  t->state = state;
  return RT_OK;
}

static rt_status compare_data(const rt_trainer *t, const rt_file *file, const char *path) {
  char now[TEXT];
  const char *then = rt_file_metadata(file, "data");
  describe_data(&t->info, now, sizeof now);
  if (!then || strcmp(then, now) == 0) return RT_OK;
  return rt_fail(RT_E_ARGUMENT,
                 "%s: the run began with other data (%s) than there are now (%s): bring them back, or begin another",
                 path, then, now);
}

static rt_status compare_teachers(const rt_trainer *t, const rt_file *file, const char *path) {
  char now[TEXT];
  const char *then = rt_file_metadata(file, "teachers");
  describe_teachers(&t->objective, now, sizeof now);
  if (!then || strcmp(then, now) == 0) return RT_OK;
  return rt_fail(
      RT_E_ARGUMENT,
      "%s: the weights of the teacher (%s) aren't those that the run began with: bring them back, or begin another",
      path, t->o.teacher);
}

static rt_status compare_machine(rt_trainer *t, const rt_file *file) {
  char now[TEXT];
  const char *then = rt_file_metadata(file, "machine");
  describe_machine(now, sizeof now);
  if (!then || strcmp(then, now) == 0) return RT_OK;
  return rt_news_note(t, "the run began on other ground (%s; now %s): it goes on, to other bits", then, now);
}

rt_status rt_train_restore(rt_trainer *t, bool *found) {
  char path[RT_RUN_PATH];
  rt_file *file;
  rt_load_options all = {.segments = RT_ALL};
  rt_run_path(&t->run, file_name, path);
  *found = access(path, F_OK) == 0;
  t->saved = *found;
  if (!*found) return rt_run_rewind(&t->run, 0);
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return s;
  s = compare_data(t, file, path);
  if (s == RT_OK) s = compare_teachers(t, file, path);
  if (s == RT_OK) s = read_counters(t, file, path);
  if (s == RT_OK) s = rt_store_load(t->store, file, &all, NULL);
  if (s == RT_OK) s = rt_run_rewind(&t->run, t->state.log_bytes);
  if (s == RT_OK) s = compare_machine(t, file);
  rt_file_free(file);
  return s;
}
