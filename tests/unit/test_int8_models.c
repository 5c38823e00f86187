/* Every model of the table in int8, statically, dynamically and trained for it, without an edit: what it says is what the float
 * network says, or the twin in float of what was trained, and what the loops of the reference say. Statically and dynamically,
 * half of the times weights are as bad for sums of 16 bits as can be: each is one of its filter's two extremes, and in every other
 * filter all have one sign. */
#include "directory.h"
#include "model/model.h"
#include "train/network.h"
#include "train/train.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

enum { SIDE = 16, IMAGES = 2, IMAGE = 3 * SIDE * SIDE, CLASSES = 10 };

static char floating[] = "/tmp/retort-floating-XXXXXX.safetensors", int8[] = "/tmp/retort-int8-XXXXXX.safetensors";
/* Directories of training runs: the files without their endings. */
static char pretraining[sizeof floating], training[sizeof int8];
static float x[IMAGES * IMAGE];

/* Narrow ones of the same shape. */
static const char *options_of(const char *model) {
  static const char *const narrow[][2] = {
      {"mlp", "hidden=32,16"},      {"resnet8x4", "width=8"},      {"resnet32x4", "width=8"},
      {"wrn_16_2", "width=8"},      {"wrn_28_10", "width=1"},      {"wrn_40_2", "width=4"},
      {"whitened_cnn", "width=16"}, {"mobilenet_v2", "width=0.2"}, {"efficientnet_b0", "width=0.2"}};
  for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
    if (strcmp(narrow[i][0], model) == 0) return narrow[i][1];
  return "width=8";
}

/* Gates that nobody has trained are one half, so signals would die away, halved in each of 16 blocks: twice as large behind each
 * batch norm. */
static void amplify(rt_store *store) {
  for (int i = 0; i < store->n; i++) {
    const rt_var *v = store->var[i];
    size_t n = strlen(v->name);
    if (v->type.rank == 1 && n > 7 && strcmp(v->name + n - 7, ".weight") == 0)
      for (int64_t k = 0; k < v->type.dim[0]; k++) ((float *)v->data)[k] = 2;
  }
}

/* All of one magnitude; sums neither grow nor shrink. */
static void spoil(rt_store *store) {
  for (int i = 0; i < store->n; i++) {
    const rt_type *t = &store->var[i]->type;
    float *w = store->var[i]->data;
    if (store->var[i]->segment != RT_SEGMENT_PARAMETER || (t->rank != 4 && t->rank != 2)) continue;
    int64_t filters = t->dim[0], size = rt_type_elements(t) / filters;
    for (int64_t k = 0; k < filters * size; k++) {
      bool positive = k / size % 2 == 0 || w[k] > 0;
      w[k] = (positive ? 1.0f : -1.0f) * (k / size % 2 ? 1.7f / sqrtf((float)size) : 1.2f / (float)size);
    }
  }
}

static void write_model(const char *model, bool spoiled) {
  rt_store *store;
  rt_graph *graph;
  const rt_pair metadata[] = {{"model", model}, {"options", options_of(model)}, {"input", "3x16x16"}};
  OK(rt_store_new(&store));
  OK(rt_graph_new(store, &graph));
  rt_dim dim[] = {rt_symbol(graph, "batch"), 3, SIDE, SIDE};
  if (!rt_model(graph, model, rt_input(graph, "x", RT_F32, 4, dim), options_of(model)))
    fail_msg("%s %s: %s", model, options_of(model), rt_error());
  OK(rt_store_init(store, 4));
  if (spoiled) spoil(store);
  if (!spoiled && strcmp(model, "efficientnet_b0") == 0) amplify(store);
  OK(rt_store_save(store, floating, RT_MODEL, metadata, 3));
  rt_graph_free(graph);
  rt_store_free(store);
}

static void logits_of(const char *path, rt_kernels kernels, float out[IMAGES * CLASSES]) {
  const rt_network_options options = {.kernels = kernels};
  const float *logits;
  rt_network *network;
  OK(rt_network_open(path, &options, &network));
  OK(rt_network_run(network, x, IMAGES, &logits));
  memcpy(out, logits, sizeof(float) * IMAGES * CLASSES);
  rt_network_free(network);
}

/* Of n numbers b beside a, in dB. */
static double sqnr(const float *a, const float *b, int n) {
  double power = 0, noise = 1e-30;
  for (int i = 0; i < n; i++) {
    power += (double)a[i] * (double)a[i];
    noise += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
  }
  return 10 * log10(power / noise);
}

static void check(const char *model, const char *method, bool spoiled) {
  float clean[IMAGES * CLASSES], fast[IMAGES * CLASSES], plain[IMAGES * CLASSES];
  rt_pair settings[] = {{"model", floating}, {"out", int8},
                        {"method", method},  {"data", ""},
                        {"images", "8"},     {"data_options", "shape=3,16,16 images=8 test_images=0 validation=0"},
                        {"batch", "16"},     {"winograd", "false"}};
  bool fixed = strcmp(method, "static") == 0;
  if (fixed) settings[3] = (rt_pair){"data", "synthetic"};
  if (!fixed) settings[4] = (rt_pair){"convolutions", "true"};
  if (!fixed) settings[5] = (rt_pair){"batch", "16"};
  OK(rt_quantize(settings, sizeof settings / sizeof *settings, NULL, NULL, NULL));
  logits_of(floating, RT_KERNELS_AUTO, clean);
  logits_of(int8, RT_KERNELS_AUTO, fast);
  logits_of(int8, RT_KERNELS_REFERENCE, plain);
  double to_float = sqnr(clean, fast, IMAGES * CLASSES), to_reference = sqnr(plain, fast, IMAGES * CLASSES);
  print_message("%s %s%s: %.1f dB beside fp32, %.1f beside the reference\n", model, method,
                spoiled ? ", extreme weights" : "", to_float, to_reference);
  if (!spoiled && !(to_float > 12)) fail_msg("%s %s: %.1f dB beside the float network", model, method, to_float);
  if (!(to_reference > 15)) fail_msg("%s %s: %.1f dB beside the reference", model, method, to_reference);
}

/* What the network of a training run says in float, everything rounded as in int8. */
static void logits_of_twin(float out[IMAGES * CLASSES]) {
  const rt_network_options options = {0};
  char path[80];
  rt_network *of, *twin;
  rt_store *store;
  rt_graph *folded;
  rt_record record;
  const float *logits;
  snprintf(path, sizeof path, "%s/model.best.pth", training);
  OK(rt_network_load(path, &options, &of));
  snprintf(path, sizeof path, "%s/" RT_QAT_RECORD, training);
  OK(rt_record_open(path, &record));
  OK(rt_pass_inference(&of->graph));
  OK(rt_folded_new(of->graph, true, &store, &folded));
  OK(rt_twin_network(of, folded, &record, &twin));
  OK(rt_network_run(twin, x, IMAGES, &logits));
  memcpy(out, logits, sizeof(float) * IMAGES * CLASSES);
  rt_network_free(twin);
  rt_graph_free(folded);
  rt_store_free(store);
  rt_record_release(&record);
  rt_network_free(of);
}

/* Trained in float for 20 steps: running statistics are on their way to what they will be. */
static void pretrain(const char *model) {
  char text[80];
  rt_train_report report;
  const rt_pair settings[] = {{"model", text},       {"out", pretraining},
                              {"data", "synthetic"}, {"data_options", "shape=3,16,16 images=80 test_images=0"},
                              {"validation", "0"},   {"augment", "none"},
                              {"precision", "fp32"}, {"epochs", "1"},
                              {"lr", "1e-3"},        {"batch", "4"}};
  snprintf(text, sizeof text, "%s:%s", model, options_of(model));
  assert_int_equal(directory_remove(pretraining), 0);
  assert_int_equal(directory_remove(training), 0);
  OK(rt_train(settings, sizeof settings / sizeof *settings, NULL, NULL, &report));
}

/* Two steps of training for int8: one with the batch's statistics and moving ranges, one with both frozen. */
static void check_trained(const char *model) {
  float twin[IMAGES * CLASSES], fast[IMAGES * CLASSES], plain[IMAGES * CLASSES];
  char start[80];
  const rt_pair settings[] = {{"model", start},
                              {"out", int8},
                              {"method", "qat"},
                              {"data", "synthetic"},
                              {"data_options", "shape=3,16,16 images=8 test_images=0"},
                              {"quantize_options", "freeze_statistics=50% freeze_ranges=50%"},
                              {"validation", "0"},
                              {"augment", "none"},
                              {"precision", "fp32"},
                              {"epochs", "2"},
                              {"lr", "1e-3"},
                              {"batch", "4"}};
  snprintf(start, sizeof start, "%s/model.last.pth", pretraining);
  pretrain(model);
  OK(rt_quantize(settings, sizeof settings / sizeof *settings, NULL, NULL, NULL));
  logits_of(int8, RT_KERNELS_AUTO, fast);
  logits_of(int8, RT_KERNELS_REFERENCE, plain);
  logits_of_twin(twin);
  double to_twin = sqnr(twin, fast, IMAGES * CLASSES), to_reference = sqnr(plain, fast, IMAGES * CLASSES),
         apart = sqnr(twin, twin + CLASSES, CLASSES);
  print_message("%s qat: %.1f dB beside its twin, %.1f beside the reference, an image %.1f beside another\n", model,
                to_twin, to_reference, apart);
  if (!(apart < 60)) fail_msg("%s qat: the logits say nothing of the images: %.1f dB", model, apart);
  if (!(to_twin > 12)) fail_msg("%s qat: %.1f dB beside its twin in float", model, to_twin);
  if (!(to_reference > 15)) fail_msg("%s qat: %.1f dB beside the reference", model, to_reference);
}

static void every_model_trained(void **state) {
  (void)state;
  for (int i = 0; i < rt_model_count(); i++) check_trained(rt_model_name(i));
}

static void every_model(void **state) {
  (void)state;
  for (int i = 0; i < rt_model_count(); i++) {
    bool spoiled = i % 2 == 0;
    write_model(rt_model_name(i), spoiled);
    check(rt_model_name(i), "static", spoiled);
    write_model(rt_model_name(i), !spoiled);
    check(rt_model_name(i), "dynamic", !spoiled);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_model), cmocka_unit_test(every_model_trained)};
  close(mkstemps(floating, 12));
  close(mkstemps(int8, 12));
  snprintf(pretraining, sizeof pretraining, "%.*s", (int)(strlen(floating) - strlen(".safetensors")), floating);
  snprintf(training, sizeof training, "%.*s", (int)(strlen(int8) - strlen(".safetensors")), int8);
  for (int i = 0; i < IMAGES * IMAGE; i++) x[i] = (float)(1.3 * sin(0.9 * i * (1 + i / IMAGE % 3)));
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(floating);
  unlink(int8);
  assert_int_equal(directory_remove(pretraining), 0);
  assert_int_equal(directory_remove(training), 0);
  return failed;
}
