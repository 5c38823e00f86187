/* Distillation runs from inside: teachers, terms, layers and adapters, schedules, resuming, and what is refused. */
#include "base/alloc.h"
#include "data_dir.h"
#include "graph/graph.h"
#include "runs.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

static char teacher[1100], convolutional[1100]; /* files of trained networks */

/* A run of a small convolutional student, with more settings in pairs of words up to NULL. */
static rt_status distill(const char *name, rt_listener *listen, void *context, ...) {
  const rt_pair base[] = {{"model", "resnet8:width=4"},
                          {"data", "synthetic"},
                          {"data_options", "shape=1,8,8 images=160 test_images=40 noise=24"},
                          {"batch", "32"},
                          {"epochs", "2"},
                          {"lr", "0.02"},
                          {"precision", "fp32"},
                          {"log_steps", "1"},
                          {"threads", "1"},
                          {"teacher", teacher},
                          {"out", data_dir_path(name)}};
  va_list more;
  va_start(more, context);
  rt_status s = run_train(base, 11, listen, context, NULL, more);
  va_end(more);
  return s;
}

static int make_teachers(void **state) {
  (void)state;
  snprintf(teacher, sizeof teacher, "%s/teacher/model.last.pth", data_dir_make());
  if (distill("teacher", NULL, NULL, "model", "mlp:hidden=32", "teacher", "", "epochs", "6", NULL) != RT_OK) return -1;
  rt_status s = distill("convolutional", NULL, NULL, "model", "resnet8:width=6", "teacher", "", NULL);
  snprintf(convolutional, sizeof convolutional, "%s", data_dir_path("convolutional/model.last.pth"));
  return s == RT_OK ? 0 : -1;
}

static int remove_teachers(void **state) {
  (void)state;
  data_dir_remove();
  return 0;
}

/* ---- what a run writes ---- */

static double number(const cJSON *o, const char *key) {
  const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
  if (!cJSON_IsNumber(item)) fail_msg("there is no number %s", key);
  return item ? item->valuedouble : 0;
}

/* Every line of a run's metrics.jsonl of this event; returns how many. */
static int each_line(const char *run, const char *event, void (*look)(const cJSON *line, void *context),
                     void *context) {
  char *text = run_text(data_dir_path(run), "metrics.jsonl"), *rest;
  int n = 0;
  for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
    cJSON *o = cJSON_Parse(line);
    if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(o, "event")), event) == 0) {
      look(o, context);
      n++;
    }
    cJSON_Delete(o);
  }
  free(text);
  return n;
}

static void sums_up(const cJSON *line, void *context) {
  const cJSON *losses = cJSON_GetObjectItem(line, "losses");
  double hard = number(losses, "cross_entropy"), soft = number(losses, "kd");
  assert_true(hard > 0 && soft > 0);
  assert_true(fabs(number(losses, "cross_entropy.weighted") - 0.1 * hard) < 1e-6);
  assert_true(fabs(number(losses, "kd.weighted") - 0.9 * soft) < 1e-5);
  assert_true(fabs(number(line, "loss") - 0.1 * hard - 0.9 * soft) < 1e-5);
  *(double *)context = soft;
}

static void begins(const cJSON *line, void *context) {
  (void)context;
  assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "loss")), "0.1·cross_entropy + 0.9·kd");
  assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(line, "teachers")), 1);
}

static void default_run(void **state) {
  (void)state;
  double last = 0;
  run_good(distill("kd", NULL, NULL, NULL));
  assert_int_equal(each_line("kd", "step", sums_up, &last), 8);
  assert_int_equal(each_line("kd", "begin", begins, NULL), 1);
  /* At rate 0 the student stays as it was drawn: as the same student without a teacher. */
  run_good(distill("still", NULL, NULL, "lr", "0", NULL));
  run_good(distill("alone", NULL, NULL, "lr", "0", "teacher", "", NULL));
  assert_true(run_apart(data_dir_path("still"), "model.last.pth", "layer3.0.conv2.weight", data_dir_path("alone"),
                        "model.last.pth", "layer3.0.conv2.weight") == 0);
}

/* Tensors whose name begins so. */
static int count_named(rt_file *file, const char *begin) {
  int n = 0;
  for (int i = 0; i < rt_file_count(file); i++) {
    rt_file_info info;
    run_good(rt_file_entry(file, i, &info));
    n += strncmp(info.name, begin, strlen(begin)) == 0;
  }
  return n;
}

/* Adapters and queues are in the checkpoint, nothing of them in the student, and of the teacher nothing anywhere. */
static void files(void **state) {
  (void)state;
  run_good(distill("hint", NULL, NULL, "teacher", convolutional, "losses",
                   "cross_entropy hint:layers=layer1:layer2 crd:weight=0.1,queue=64,width=8,images=144", NULL));
  rt_file *model = run_file(data_dir_path("hint"), "model.last.pth"),
          *alone = run_file(data_dir_path("alone"), "model.last.pth"),
          *checkpoint = run_file(data_dir_path("hint"), "checkpoint.safetensors");
  assert_int_equal(rt_file_count(model), rt_file_count(alone));
  assert_int_equal(count_named(model, "adapter"), 0);
  assert_int_equal(count_named(checkpoint, "teacher"), 0);
  assert_true(count_named(checkpoint, "adapter.hint.layer1.conv.weight") > 0);
  assert_true(count_named(checkpoint, "adapter.crd.") > 0);
  rt_file_free(model);
  rt_file_free(alone);
  rt_file_free(checkpoint);
}

/* ---- going on ---- */

static bool stop_at(void *context, const rt_news *news) {
  return news->kind != RT_NEWS_STEP || news->step != *(const int64_t *)context;
}

static void interruption(void **state) {
  (void)state;
  const char *const losses = "kd:as=soft hint:weight=2 crd:weight=0.1,queue=64,width=8,images=144 mgd:weight=1e-3";
  const char *const schedules = "soft.temperature: linear value=8 to=2; hint.weight: cosine value=2 warmup=25%";
  const char *const tensors[] = {"conv1.weight", "adapter.hint.layer1.conv.weight", "state/linear.weight.momentum"};
  run_good(distill("whole", NULL, NULL, "teacher", convolutional, "losses", losses, "schedules", schedules, NULL));
  for (int64_t at = 1; at < 8; at += 3) {
    run_good(distill("parts", stop_at, &at, "teacher", convolutional, "losses", losses, "schedules", schedules,
                     "resume", "true", NULL));
  }
  run_good(distill("parts", NULL, NULL, "resume", "true", "teacher", convolutional, NULL));
  rt_file *file = run_file(data_dir_path("whole"), "checkpoint.safetensors");
  for (int i = 0; i < rt_file_count(file); i++) {
    rt_file_info info;
    run_good(rt_file_entry(file, i, &info));
    if (info.dtype == RT_F32)
      assert_true(run_apart(data_dir_path("whole"), "checkpoint.safetensors", info.name, data_dir_path("parts"),
                            "checkpoint.safetensors", info.name) == 0);
  }
  for (int i = 0; i < 3; i++) assert_int_equal(count_named(file, tensors[i]), 1);
  rt_file_free(file);
  /* Another teacher behind the same name. */
  char aside[1200];
  int64_t at = 2;
  run_good(distill("changed", stop_at, &at, "teacher", convolutional, "losses", "kd", NULL));
  snprintf(aside, sizeof aside, "%s.aside", convolutional);
  assert_int_equal(rename(convolutional, aside), 0);
  rt_file *other;
  run_good(rt_file_open(data_dir_path("alone/model.last.pth"), &other));
  run_good(rt_file_convert(other, convolutional));
  rt_file_free(other);
  run_says(RT_E_ARGUMENT,
           distill("changed", NULL, NULL, "teacher", convolutional, "losses", "kd", "resume", "true", NULL),
           "aren't those that the run began with");
  assert_int_equal(rename(aside, convolutional), 0);
}

/* ---- schedules, several teachers ---- */

static void temperatures(const cJSON *line, void *context) {
  double *t = context;
  *t++ = number(cJSON_GetObjectItem(line, "scheduled"), "kd.temperature");
}

static void first_and_last(const cJSON *line, void *context) {
  double *t = context;
  temperatures(line, &t[1]);
  if (t[0] == 0) t[0] = t[1];
}

static void schedules(void **state) {
  (void)state;
  double t[2] = {0};
  run_good(distill("cooling", NULL, NULL, "schedules", "kd.temperature: linear value=8 to=2; momentum: 0.5", NULL));
  each_line("cooling", "step", first_and_last, t);
  assert_true(t[0] == 8 && t[1] > 2 && t[1] < 3.5);
  run_good(distill("by schedule", NULL, NULL, "schedules", "kd.temperature: 2", NULL));
  run_good(distill("by option", NULL, NULL, "losses", "cross_entropy:weight=0.1 kd:weight=0.9,temperature=2", NULL));
  assert_true(run_apart(data_dir_path("by schedule"), "model.last.pth", "linear.weight", data_dir_path("by option"),
                        "model.last.pth", "linear.weight") == 0);
  run_says(RT_E_UNKNOWN, distill("x", NULL, NULL, "schedules", "kd.temprature: 3", NULL),
           "did you mean kd.temperature");
  run_says(RT_E_UNKNOWN, distill("x", NULL, NULL, "schedules", "lr: 3", NULL), "is the setting schedule");
  run_says(RT_E_RANGE, distill("x", NULL, NULL, "schedules", "kd.temperature: linear value=8 to=-2", NULL),
           "a temperature above 0");
  run_says(RT_E_RANGE, distill("x", NULL, NULL, "schedules", "kd.weight: linear value=1 to=-1", NULL), "at least 0");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "schedules", "kd.temperature", NULL), "is no NAME: SCHEDULE");
}

static void remember_loss(const cJSON *line, void *context) {
  double *v = context;
  if (number(line, "step") == 1) *v = number(line, "loss");
}

/* The mean of two equal teachers is one of them; weights choose among two. */
static void several_teachers(void **state) {
  (void)state;
  char two[2300], both[2300];
  double one = 0, same = 0, first = 0, mixed = 0;
  snprintf(two, sizeof two, "%s;%s", teacher, teacher);
  snprintf(both, sizeof both, "%s;%s", teacher, convolutional);
  run_good(distill("t1", NULL, NULL, "losses", "kd", "epochs", "1", NULL));
  run_good(distill("t2", NULL, NULL, "losses", "kd", "epochs", "1", "teacher", two, NULL));
  run_good(distill("t3", NULL, NULL, "losses", "kd", "epochs", "1", "teacher", both, "teacher_weights", "3,0", NULL));
  run_good(distill("t4", NULL, NULL, "epochs", "1", "teacher", both, "losses",
                   "kd:from=1,weight=0.5,as=first kd:from=2,weight=0.5,as=second hint:layers=layer2:teacher2.layer2",
                   NULL));
  each_line("t1", "step", remember_loss, &one);
  each_line("t2", "step", remember_loss, &same);
  each_line("t3", "step", remember_loss, &first);
  each_line("t4", "step", remember_loss, &mixed);
  assert_true(fabs(one - same) < 1e-6 * one && fabs(one - first) < 1e-6 * one);
  assert_true(fabs(one - mixed) > 1e-3 * one);
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "teacher", both, "teacher_weights", "0,0", NULL), "all are zero");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "losses", "kd:from=2", NULL), "there is 1 teacher");
}

/* Another mean and deviation in the teacher's file: its images are converted, and it says the same. */
static void normalisation(void **state) {
  (void)state;
  double plain = 0, converted = 0;
  rt_file *file;
  run_good(rt_file_open(convolutional, &file));
  rt_file_info info[64];
  rt_array array[64];
  int n = rt_file_count(file);
  assert_true(n < 64);
  for (int i = 0; i < n; i++) {
    run_good(rt_file_entry(file, i, &info[i]));
    void *data = malloc((size_t)info[i].bytes + 1);
    run_good(rt_file_read(file, info[i].name, data, (size_t)info[i].bytes));
    if (strcmp(info[i].name, "conv1.weight") == 0) /* images of twice the deviation, weights of half the size */
      for (int64_t k = 0; k < info[i].bytes / 4; k++) ((float *)data)[k] /= 2;
    array[i] = (rt_array){info[i].name, info[i].dtype, info[i].rank, info[i].dim, data};
  }
  char std[64];
  snprintf(std, sizeof std, "%.9g", strtod(rt_file_metadata(file, "std"), NULL) / 2);
  const rt_pair metadata[] = {{"model", "resnet8"},
                              {"options", rt_file_metadata(file, "options")},
                              {"input", "1x8x8"},
                              {"mean", rt_file_metadata(file, "mean")},
                              {"std", std}};
  char path[1200];
  snprintf(path, sizeof path, "%s", data_dir_path("halved.pth"));
  run_good(rt_file_write(path, array, n, metadata, 5));
  for (int i = 0; i < n; i++) free((void *)array[i].data);
  rt_file_free(file);
  run_good(distill("n1", NULL, NULL, "losses", "kd", "epochs", "1", "teacher", convolutional, NULL));
  run_good(distill("n2", NULL, NULL, "losses", "kd", "epochs", "1", "teacher", path, NULL));
  each_line("n1", "step", remember_loss, &plain);
  each_line("n2", "step", remember_loss, &converted);
  assert_true(fabs(plain - converted) < 1e-5 * plain);
  char *log = run_text(data_dir_path("n2"), "metrics.jsonl");
  assert_non_null(strstr(log, "its images are converted"));
  free(log);
}

/* A file that doesn't say what it is. */
static void bare_file(void **state) {
  (void)state;
  float weight[64][3] = {{0}}, bias[3] = {1, 2, 3};
  double loss = 0;
  const rt_array arrays[] = {{"0.weight", RT_F32, 2, (int64_t[]){3, 64}, weight},
                             {"0.bias", RT_F32, 1, (int64_t[]){3}, bias}};
  char path[1200];
  snprintf(path, sizeof path, "%s", data_dir_path("bare.pth"));
  run_good(rt_file_write(path, arrays, 2, NULL, 0));
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "teacher", path, NULL), "teacher_model says what its file doesn't");
  run_says(RT_E_SHAPE, distill("x", NULL, NULL, "teacher", path, "teacher_model", "mlp:hidden=4", NULL),
           "doesn't fit the model");
  run_good(distill("bare", NULL, NULL, "teacher", path, "teacher_model", "mlp:hidden=", "teacher_mean", "0.5",
                   "teacher_std", "0.2", "epochs", "1", "data_options",
                   "classes=3 shape=1,8,8 images=160 test_images=40", "losses", "kd:temperature=1", NULL));
  each_line("bare", "step", remember_loss, &loss);
  assert_true(loss > 0 && loss < 3); /* from softmax(1, 2, 3), whatever the image */
}

/* ---- refusals ---- */

static void refusals(void **state) {
  (void)state;
  run_says(RT_E_SHAPE, distill("x", NULL, NULL, "teacher", "mlp:classes=7", NULL),
           "student has 10 classes and the teacher 7");
  run_says(RT_E_SHAPE, distill("x", NULL, NULL, "data_options", "shape=1,10,10 images=160", NULL),
           "takes images of 1x8x8");
  run_says(RT_E_RANGE, distill("x", NULL, NULL, "losses", "kd:temperature=0", NULL), "temperature=0 must be above 0");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "losses", "kd:weight=0", NULL), "weights are all zero");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "alpha", "0.7", NULL), "alpha=0.7 alone has two readings");
  run_says(RT_E_SHAPE,
           distill("x", NULL, NULL, "data_options", "classes=2 shape=1,8,8 images=160", "losses", "dkd", "teacher",
                   "mlp", NULL),
           "kd does the same job for 2");
  run_says(RT_E_UNKNOWN,
           distill("x", NULL, NULL, "losses", "hint:layers=layer4:layer1", "teacher", convolutional, NULL),
           "the student (resnet8) has no layer layer4");
  run_says(RT_E_UNKNOWN,
           distill("x", NULL, NULL, "losses", "hint", "layers", "layer1:layer11", "teacher", convolutional, NULL),
           "did you mean layer1");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "losses", "kd", "teacher", "", NULL), "there is none: name it");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "losses", "cross_entropy", NULL), "no term of losses=cross_entropy");
  run_says(RT_E_UNKNOWN, distill("x", NULL, NULL, "losses", "kdd", NULL), "there is no loss kdd (did you mean");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "losses", "kd:temprature=3", NULL), "did you mean temperature");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "losses", "kd", "label_smoothing", "0.1", NULL), "belongs there");
  run_says(RT_E_IO, distill("x", NULL, NULL, "teacher", "nobody.pth", NULL), "nobody.pth");
  run_says(RT_E_ARGUMENT, distill("x", NULL, NULL, "losses", "dkd", "augment", "mixup=0.2", NULL),
           "dkd needs class numbers");
  run_says(RT_E_SHAPE,
           distill("x", NULL, NULL, "losses", "fsp:layers=layer1:layer1+layer2:layer2", "teacher", convolutional, NULL),
           "layer layer1 has 4 channels in the student and 6 in the teacher");
  rt_pair nothing[] = {{"model", "mlp"}, {"data", "synthetic"}, {"teacher", "mlp:classes=3"}};
  char *text;
  run_says(RT_E_SHAPE, rt_train_explain(nothing, 3, &text), "classes");
  assert_null(text);
}

/* Stages of networks that widen inside their blocks are what the blocks end with. */
static void pairs(void **state) {
  (void)state;
  static const struct {
    const char *student, *teacher, *pair[4];
  } found[] = {
      {"mobilenet_v2",
       "efficientnet_b0",
       {"features.3 24x32x32 of the student, features.2 24x32x32 of the teacher",
        "features.6 32x16x16 of the student, features.3 40x16x16 of the teacher",
        "features.13 96x8x8 of the student, features.5 112x8x8 of the teacher",
        "features 1280x4x4 of the student, features 1280x4x4 of the teacher"}},
      {"resnet8",
       "wrn_16_1",
       {"layer1 16x32x32 of the student, block1 16x32x32 of the teacher",
        "layer2 32x16x16 of the student, block2 32x16x16 of the teacher",
        "layer3 64x8x8 of the student, relu 64x8x8 of the teacher"}},
      {"vgg8", "resnet8", {"features.9 256x8x8 of the student, layer3 64x8x8 of the teacher"}},
  };
  for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
    char *text;
    rt_pair settings[] = {{"model", found[i].student}, {"teacher", found[i].teacher},
                          {"data", "synthetic"},       {"data_options", "shape=3,32,32 images=20"},
                          {"losses", "hint"},          {"batch", "4"}};
    run_good(rt_train_explain(settings, 6, &text));
    for (int k = 0; k < 4 && found[i].pair[k]; k++)
      if (!strstr(text, found[i].pair[k])) fail_msg("expected \"%s\" in\n%s", found[i].pair[k], text);
    rt_text_free(text);
  }
  run_good(distill("mobile", NULL, NULL, "data_options", "shape=3,32,32 images=24", "batch", "8", "epochs", "1",
                   "teacher", "mobilenet_v2", "losses", "kd hint attention_transfer rkd_distance", NULL));
}

static void explanation(void **state) {
  (void)state;
  char *text;
  rt_pair settings[] = {{"model", "resnet8:width=4"},
                        {"data", "synthetic"},
                        {"data_options", "shape=1,8,8 images=160"},
                        {"teacher", convolutional},
                        {"losses", "cross_entropy kd:temperature=2.5 hint:layers=layer1:layer2"},
                        {"alpha", ""}};
  run_good(rt_train_explain(settings, 6, &text));
  const char *const parts[] = {"1·cross_entropy + 1·kd + 1·hint",
                               "2.5²/N",
                               "softmax(z/2.5)",
                               "layer1 4x8x8 of the student",
                               "layer2 12x4x4 of the teacher",
                               "adapter.hint.layer1.conv.weight",
                               "trained along",
                               "evaluation form"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strstr(text, parts[i])) fail_msg("expected \"%s\" in\n%s", parts[i], text);
  rt_text_free(text);
  settings[4].text = "cross_entropy kd";
  settings[5].text = "0.7";
  rt_pair more[7];
  memcpy(more, settings, sizeof settings);
  more[6] = (rt_pair){"alpha_is", "hard"};
  run_good(rt_train_explain(more, 7, &text));
  assert_non_null(strstr(text, "0.7·cross_entropy + 0.3·kd"));
  rt_text_free(text);
}

/* A term that isn't finite is named. */
static void not_finite(void **state) {
  (void)state;
  run_says(RT_E_DIVERGED,
           distill("inf", NULL, NULL, "losses", "cross_entropy mse_logits", "schedules",
                   "mse_logits.weight: step value=1 gamma=1e37 every=50%", "lr", "1", NULL),
           "the loss (");
  assert_non_null(strstr(rt_error(), "step "));
}

/* One allocation fails, here and there: an error, nothing lost. */
static void failing_memory(void **state) {
  (void)state;
  const char *const losses = "kd hint:layers=layer1";
  int64_t before = rt_alloc_count().live, calls = rt_alloc_count().calls;
  run_good(distill("all", NULL, NULL, "teacher", convolutional, "losses", losses, "epochs", "1", NULL));
  calls = rt_alloc_count().calls - calls;
  int failures = 0;
  for (int64_t after = 0; after < calls; after += 3 + after / 12) {
    rt_alloc_fail_after(after);
    rt_status s = distill("memory", NULL, NULL, "teacher", convolutional, "losses", losses, "epochs", "1", "resume",
                          "true", NULL);
    rt_alloc_fail_after(-1);
    assert_int_equal(rt_alloc_count().live, before);
    if (s == RT_OK) break;
    if (s != RT_E_MEMORY && !strstr(rt_error(), "memory"))
      fail_msg("allocation %lld of %lld: %s", (long long)after, (long long)calls, rt_error());
    failures++;
  }
  assert_true(failures > 20);
}

/* ---- layers of graphs ---- */

static void layers(void **state) {
  (void)state;
  rt_store *store;
  rt_graph *g;
  const rt_layer_info *list;
  int n, found = 0;
  run_good(rt_store_new(&store));
  run_good(rt_graph_new(store, &g));
  rt_dim dim[] = {rt_symbol(g, "batch"), 3, 32, 32};
  rt_value *logits = rt_model(g, "resnet20", rt_input(g, "x", RT_F32, 4, dim), NULL);
  run_good(rt_graph_status(g));
  assert_ptr_equal(rt_find_layer(g, "linear"), logits);
  assert_null(rt_find_layer(g, "layer"));
  assert_null(rt_find_layer(g, ""));
  assert_ptr_equal(rt_find_layer(g, "layer2"), rt_find_layer(g, "layer2.2.relu"));
  assert_string_equal(rt_layer_name(g, rt_find_layer(g, "layer2.2")), "layer2");
  assert_string_equal(rt_layer_name(g, rt_find_layer(g, "layer2.1")), "layer2.1");
  run_good(rt_graph_layers(g, &list, &n));
  for (int i = 0; i < n; i++) {
    if (strcmp(list[i].name, "layer3") != 0) continue;
    assert_true(list[i].rank == 4 && list[i].dim[0] == -1 && list[i].dim[1] == 64 && list[i].dim[3] == 8);
    found++;
  }
  assert_int_equal(found, 1);
  rt_graph_free(g);
  rt_store_free(store);
}

/* A network of one store in the graph of another: the same results, its variables read where they are. */
static void inlining(void **state) {
  (void)state;
  rt_store *a, *b;
  rt_graph *from, *to;
  rt_plan *plan;
  run_good(rt_store_new(&a));
  run_good(rt_store_new(&b));
  run_good(rt_graph_new(a, &from));
  run_good(rt_graph_new(b, &to));
  rt_dim dim[] = {rt_symbol(from, "batch"), 2};
  rt_value *y = rt_linear(from, "fc", rt_input(from, "x", RT_F32, 2, dim), 3, true);
  rt_mark_output(from, "y", y);
  run_good(rt_store_init(a, 5));
  rt_value **map = rt_graph_new_map(to, from);
  run_good(rt_graph_inline(to, from, "other.", map));
  rt_mark_output(to, "y", map[y->id]);
  assert_string_equal(map[y->id]->name, "other.fc");
  run_good(rt_store_init(b, 9));
  run_good(rt_plan_new(to, NULL, &plan));
  const float x[] = {1, 2}, w[] = {1, 0, 0, 1, 1, 1}, bias[] = {0, 0, 10};
  run_good(rt_store_set(a, "fc.weight", w, sizeof w));
  run_good(rt_store_set(a, "fc.bias", bias, sizeof bias));
  rt_feed feed = {"x", 2, (int64_t[]){1, 2}, x};
  rt_result r;
  run_good(rt_plan_run(plan, &feed, 1));
  run_good(rt_plan_result(plan, "y", &r));
  const float *got = r.data;
  assert_true(got[0] == 1 && got[1] == 2 && got[2] == 13);
  rt_plan_free(plan);
  rt_graph_free(to);
  rt_graph_free(from);
  rt_store_free(b);
  rt_store_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(layers),        cmocka_unit_test(inlining),      cmocka_unit_test(default_run),
      cmocka_unit_test(files),         cmocka_unit_test(schedules),     cmocka_unit_test(several_teachers),
      cmocka_unit_test(normalisation), cmocka_unit_test(refusals),      cmocka_unit_test(bare_file),
      cmocka_unit_test(explanation),   cmocka_unit_test(pairs),         cmocka_unit_test(not_finite),
      cmocka_unit_test(interruption),  cmocka_unit_test(failing_memory)};
  return cmocka_run_group_tests(tests, make_teachers, remove_teachers);
}
