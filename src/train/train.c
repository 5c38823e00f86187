/* rt_train: a run from its settings to its report. */
#include "train/train.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- settings and data ---- */

static rt_status read_settings(rt_train_settings *o, const rt_pair *settings, int n, rt_arena *arena) {
  char config[RT_RUN_PATH];
  rt_status s = rt_settings_parse(o, settings, n, arena);
  if (s != RT_OK) return s;
  if (o->resume) {
    if (!*o->out) return rt_fail(RT_E_ARGUMENT, "train: resume needs out, the directory of the run that is to go on");
    snprintf(config, sizeof config, "%s/config.json", o->out);
    if (access(config, F_OK) == 0) s = rt_settings_resume(o, config, settings, n, arena);
  }
  if (s != RT_OK) return s;
  if (!*o->model) return rt_fail(RT_E_ARGUMENT, "train: model is missing: which, as in resnet20");
  if (o->quantize && rt_chain_wanted(o))
    return rt_fail(RT_E_ARGUMENT, "train: quantize=qat trains one network, and through and generations several");
  return *o->data ? RT_OK : rt_fail(RT_E_ARGUMENT, "train: data is missing: a data set, as in fashion-mnist");
}

static rt_status open_model(rt_trainer *t) {
  const rt_train_settings *o = &t->o;
  size_t length = strcspn(o->model, ":");
  snprintf(t->model, sizeof t->model, "%.*s", (int)(length < sizeof t->model ? length : sizeof t->model - 1), o->model);
  rt_status s = rt_student_open(t);
  return s == RT_OK && o->threads ? rt_set_threads((int)o->threads) : s;
}

static rt_status open_loaders(rt_trainer *t) {
  const rt_train_settings *o = &t->o;
  rt_batch first;
  bool whole = t->info.count[RT_TRAIN] >= o->batch;
  const char *augment = strcmp(o->augment, "none") == 0 ? NULL : o->augment;
  const char *text = rt_arena_text(
      &t->arena, "batch=%lld shuffle=true drop_last=%s order_seed=%s augment_seed=%s draws=%lld threads=%lld%s",
      (long long)o->batch, whole ? "true" : "false", o->order_seed, o->augment_seed, (long long)o->draws,
      (long long)o->loader_threads, t->normal);
  const char *plain = rt_arena_text(&t->arena, "batch=%lld%s", (long long)o->batch, t->normal);
  if (!text || !plain) return RT_E_MEMORY;
  rt_status s = rt_loader_new(t->data, RT_TRAIN, text, augment, &t->loader);
  if (s == RT_OK) s = rt_loader_next(t->loader, &first); /* what kind of targets there are */
  if (s != RT_OK) return s;
  t->soft = first.target != NULL;
  t->epoch_steps = rt_loader_batches(t->loader);
  t->steps = t->epoch_steps * o->epochs;
  return t->info.count[RT_VALIDATION] ? rt_loader_new(t->data, RT_VALIDATION, plain, NULL, &t->validation) : RT_OK;
}

/* One value that is no number makes the mean, and with it every image, none. */
static rt_status check_values(const rt_data *d) {
  int64_t each = rt_data_pixels(d), n = d->value ? rt_data_samples(d) * each : 0;
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(d->value[i]))
      return rt_fail(RT_E_RANGE, "train: image %lld of %s holds a value that isn't finite: mend it, or leave it out",
                     (long long)(i / each), d->row->name);
  return RT_OK;
}

/* What a file says that a run goes on from, where nothing was said. */
static rt_status take_normalisation(rt_trainer *t, const rt_file *file) {
  const char *mean = rt_file_metadata(file, "mean"), *std = rt_file_metadata(file, "std");
  if (!mean || !std || *t->o.mean || *t->o.std) return RT_OK;
  t->o.mean = rt_arena_text(&t->arena, "%s", mean);
  t->o.std = rt_arena_text(&t->arena, "%s", std);
  return t->o.mean && t->o.std ? RT_OK : RT_E_MEMORY;
}

static rt_status open_normalisation(rt_trainer *t) {
  const rt_train_settings *o = &t->o;
  rt_file *file;
  int64_t channels = t->info.channels;
  rt_status s = t->student_file ? take_normalisation(t, t->student_file) : RT_OK;
  if (s == RT_OK && *o->init && access(o->init, F_OK) == 0 && (s = rt_file_open(o->init, &file)) == RT_OK) {
    s = take_normalisation(t, file);
    rt_file_free(file);
  }
  t->normal = "";
  if (s != RT_OK || (!*o->mean && !*o->std)) return s;
  if (!*o->mean || !*o->std)
    return rt_fail(RT_E_ARGUMENT, "train: there is a %s without a %s", *o->mean ? "mean" : "std",
                   *o->mean ? "std" : "mean");
  float *value = rt_arena_alloc(&t->arena, (size_t)(2 * channels) * sizeof *value);
  t->normal = rt_arena_text(&t->arena, " mean=%s std=%s", o->mean, o->std);
  if (!value || !t->normal) return RT_E_MEMORY;
  s = rt_parse_numbers(o->mean, channels, "mean", value);
  if (s == RT_OK) s = rt_parse_numbers(o->std, channels, "std", value + channels);
  t->info.mean = value;
  t->info.deviation = value + channels;
  return s;
}

static rt_status open_data(rt_trainer *t) {
  rt_train_settings *o = &t->o;
  const char *options = rt_arena_text(&t->arena, "validation=%.9g %s", o->validation, o->data_options);
  rt_status s = options ? rt_data_open(o->data, options, &t->data) : RT_E_MEMORY;
  if (s == RT_OK) s = check_values(t->data);
  if (s != RT_OK) return s;
  rt_data_describe(t->data, &t->info);
  s = open_normalisation(t);
  if (s != RT_OK) return s;
  s = rt_settings_resolve(o, &t->info, t->from || *o->teacher || *o->teacher_outputs, &t->arena);
  const char *colon = t->student ? NULL : strchr(o->model, ':');
  t->model_options = rt_arena_text(&t->arena, "classes=%lld%s%s", (long long)t->info.classes, colon ? " " : "",
                                   colon ? colon + 1 : "");
  if (s == RT_OK && !t->model_options) s = RT_E_MEMORY;
  if (s == RT_OK) s = open_loaders(t);
  if (s == RT_OK) s = rt_schedule_new(o->schedule, &t->schedule);
  t->lr = rt_settings_number(o->lr);
  return s == RT_OK ? rt_metrics_new(t->info.classes, &t->metrics) : s;
}

/* ---- the run ---- */

/* Too little memory is known before a directory is made. */
static rt_status check_memory(rt_trainer *t) {
  int64_t n = (t->o.batch + t->o.accumulate - 1) / t->o.accumulate;
  int64_t image[] = {n, t->info.channels, t->info.height, t->info.width}, target[] = {n, t->info.classes};
  rt_feed feed[RT_MOST_FEEDS] = {{"x", 4, image, NULL},
                                 {"target", t->soft ? 2 : 1, target, NULL},
                                 {"lr", 0, NULL, NULL},
                                 {"dropout_seed", 0, NULL, NULL},
                                 {"step", 0, NULL, NULL}};
  int fed = 3 + 2 * (rt_find(t->training, "step") != NULL);
  for (int i = 0; i < t->fed.n; i++) {
    rt_fed *one = &t->fed.fed[i];
    one->dim[0] = n;
    if (one->live) feed[fed++] = (rt_feed){one->name, one->rank, one->dim, NULL};
  }
  rt_status s = rt_plan_bind(t->train_plan, feed, fed);
  return s == RT_OK && t->fed.plan ? rt_plan_bind(t->fed.plan, feed, 1) : s;
}

/* What may surprise. */
static rt_status note_objective(rt_trainer *t) {
  const rt_objective *o = &t->objective;
  rt_status s = RT_OK;
  for (int i = 0; i < o->terms && s == RT_OK && t->o.accumulate > 1; i++)
    if (o->term[i].row->couples_samples)
      s = rt_news_note(t, "accumulate=%lld: %s compares the images of each part, not of the whole step",
                       (long long)t->o.accumulate, o->term[i].row->name);
  for (int k = 0; k < o->teachers && s == RT_OK; k++) {
    const rt_teacher *teacher = &o->teacher[k];
    const rt_network_info *n = &teacher->network->info;
    if (teacher->outputs && strcmp(t->o.augment, "none") != 0)
      s = rt_news_note(t, "%s says one thing of an image, however it is augmented", teacher->text);
    else if (!rt_teacher_runs(t, k))
      continue;
    else if (!teacher->trained)
      s = rt_news_note(t, "teacher %s has no weights of a file: what it says is chance", teacher->text);
    else if (!n->mean)
      s = rt_news_note(t, "teacher %s doesn't say mean and std: it gets images normalised as the student's",
                       teacher->text);
    else if (rt_teacher_normalises(t, k))
      s = rt_news_note(t, "teacher %s learned with another mean and std: its images are converted", teacher->text);
  }
  return s;
}

static rt_status open_run(rt_trainer *t) {
  char name[256], path[RT_RUN_PATH];
  bool found = false;
  snprintf(name, sizeof name, "%s-%s", t->model, t->info.kind);
  rt_status s = rt_run_open(&t->run, t->o.out, name, t->o.resume);
  if (s == RT_OK) s = rt_settings_save(&t->o, rt_run_path(&t->run, "config.json", path));
  if (s == RT_OK) s = rt_train_restore(t, &found);
  if (s == RT_OK && !found) s = rt_train_start(t);
  if (s == RT_OK) s = rt_events_open(t->run.path, t->state.step, &t->events);
  if (s == RT_OK && t->state.step < t->steps)
    s = rt_loader_seek(t->loader, t->state.step / t->epoch_steps, t->state.step % t->epoch_steps);
  t->began = rt_now() - t->state.seconds;
  const char *coupled = rt_coupled_layer(t->training);
  if (s == RT_OK && !found && t->o.accumulate > 1 && coupled)
    s = rt_news_note(t, "accumulate=%lld: %s normalises over the images of each part, not of the whole step",
                     (long long)t->o.accumulate, coupled);
  if (s == RT_OK && !found) s = note_objective(t);
  if (s == RT_OK) s = rt_cache_begin(t);
  return s == RT_OK ? rt_news_begin(t, found) : s;
}

/* The test images choose nothing: they are looked at once, with the weights that validation chose, as they are in the file. */
static rt_status test(rt_trainer *t, rt_train_report *report) {
  rt_network *network;
  char path[RT_RUN_PATH];
  rt_network_options options = {
      .bf16 = t->o.precision == RT_PRECISION_BF16, .tta = (rt_tta)t->o.tta, .kernels = (rt_kernels)t->o.kernels};
  if (t->o.quantize) return rt_qat_finish(t, &report->test);
  if (!t->info.count[RT_TEST]) return RT_OK;
  rt_status s = rt_network_open(rt_run_path(&t->run, rt_student_file(t, true), path), &options, &network);
  if (s != RT_OK) return s;
  rt_metrics_clear(t->metrics);
  s = rt_evaluate(network, t->data, RT_TEST, t->o.batch, t->metrics);
  if (s == RT_OK) s = rt_dark_knowledge(t, network);
  rt_network_free(network);
  rt_metrics_score(t->metrics, &report->test);
  return s;
}

static rt_status run(rt_trainer *t, rt_train_report *report) {
  rt_status s = open_model(t);
  if (s == RT_OK) s = open_data(t);
  if (s == RT_OK) s = rt_objective_open(t);
  if (s == RT_OK) s = rt_qat_open(t);
  if (s == RT_OK) s = rt_train_build(t);
  if (s == RT_OK) s = check_memory(t);
  if (s == RT_OK) s = open_run(t);
  snprintf(report->directory, sizeof report->directory, "%s", t->run.path);
  report->model = t->o.quantize ? rt_qat_file(t) : rt_student_file(t, true);
  if (s == RT_OK) s = rt_train_loop(t, &report->stopped_early);
  report->interrupted = t->stop;
  if (s == RT_OK && !t->stop) s = test(t, report);
  report->epochs = t->state.epochs;
  report->steps = t->state.step;
  report->best_epoch = t->state.best_epoch;
  report->validation = t->state.best;
  report->seconds = rt_now() - t->began;
  return s == RT_OK && !t->stop ? rt_news_end(t, report) : s;
}

static void release(rt_trainer *t) {
  rt_events_close(t->events);
  rt_run_close(&t->run);
  rt_loader_free(t->loader);
  rt_loader_free(t->validation);
  rt_plan_free(t->train_plan);
  rt_plan_free(t->evaluate_plan);
  rt_graph_free(t->training);
  rt_graph_free(t->evaluation);
  rt_fed_close(t);
  rt_store_free(t->store);
  rt_objective_close(t);
  rt_qat_close(t);
  rt_student_close(t);
  rt_schedule_free(t->schedule);
  rt_metrics_free(t->metrics);
  rt_data_free(t->data);
  rt_arena_release(&t->arena);
}

rt_status rt_train_one(const rt_train_settings *o, const char *from, rt_listener *listen, void *context,
                       rt_train_report *report) {
  rt_trainer t = {.o = *o, .from = from, .run.log = -1, .state.best_epoch = -1, .listen = listen, .context = context};
  *report = (rt_train_report){0};
  t.began = rt_now();
  rt_status s = run(&t, report);
  release(&t);
  return s;
}

rt_status rt_train(const rt_pair *settings, int n, rt_listener *listen, void *context, rt_train_report *report) {
  rt_arena arena = {0};
  rt_train_settings o = {0};
  rt_train_report unwanted;
  if (!report) report = &unwanted;
  *report = (rt_train_report){0};
  rt_status s = read_settings(&o, settings, n, &arena);
  if (s == RT_OK)
    s = rt_chain_wanted(&o) ? rt_train_chain(&o, listen, context, report)
                            : rt_train_one(&o, NULL, listen, context, report);
  rt_arena_release(&arena);
  return s;
}

/* ---- in words ---- */

static rt_status explain(rt_trainer *t, rt_strbuf *text) {
  rt_status s = open_model(t);
  if (s == RT_OK) s = open_data(t);
  if (s == RT_OK) s = rt_objective_open(t);
  if (s == RT_OK) s = rt_qat_open(t);
  if (s == RT_OK) s = rt_train_build(t);
  if (s == RT_OK) s = check_memory(t);
  if (s != RT_OK) return s;
  rt_explain(t, text);
  return text->failed ? RT_E_MEMORY : RT_OK;
}

rt_status rt_explain_one(const rt_train_settings *o, const char *from, rt_strbuf *text) {
  rt_trainer t = {.o = *o, .from = from, .run.log = -1};
  rt_status s = explain(&t, text);
  release(&t);
  return s;
}

rt_status rt_train_explain(const rt_pair *settings, int n, char **out) {
  rt_arena arena = {0};
  rt_train_settings o = {0};
  rt_strbuf text = {0};
  rt_status s = read_settings(&o, settings, n, &arena);
  if (s == RT_OK) s = rt_chain_wanted(&o) ? rt_chain_explain(&o, &text) : rt_explain_one(&o, NULL, &text);
  rt_arena_release(&arena);
  if (s != RT_OK) rt_strbuf_release(&text);
  *out = text.text;
  return s;
}
