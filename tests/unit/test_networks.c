/* Networks from files: what metadata and caller say, running, evaluating, and memory that runs out anywhere. */
#include "base/alloc.h"
#include "base/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 4, PIXELS = 3 * SIDE * SIDE, CLASSES = 3 };

static char path[] = "/tmp/retort-network-XXXXXX.safetensors";

static void ok(rt_status s) {
  if (s != RT_OK) fail_msg("%s", rt_error());
}

/* One linear layer after another without change: logits are the means of the three channels, times 16. */
static int write_file(void **state) {
  static float first[CLASSES][PIXELS], second[CLASSES][CLASSES], zero[CLASSES];
  for (int c = 0; c < CLASSES; c++) {
    for (int i = 0; i < SIDE * SIDE; i++) first[c][c * SIDE * SIDE + i] = 1;
    second[c][c] = 1;
  }
  const rt_array arrays[] = {{"0.weight", RT_F32, 2, (int64_t[]){CLASSES, PIXELS}, first},
                             {"0.bias", RT_F32, 1, (int64_t[]){CLASSES}, zero},
                             {"2.weight", RT_F32, 2, (int64_t[]){CLASSES, CLASSES}, second},
                             {"2.bias", RT_F32, 1, (int64_t[]){CLASSES}, zero}};
  const rt_pair metadata[] = {
      {"model", "mlp"},           {"options", "hidden=3"}, {"classes", "[\"red\", \"green\", \"blue\"]"},
      {"mean", "0.5,0.25,0.125"}, {"std", "1,2,4"},        {"input", "3x4x4"},
      {"resize", "6 bicubic"}};
  int fd = mkstemps(path, 12);
  if (fd < 0) return -1;
  close(fd);
  return rt_file_write(path, arrays, 4, metadata, 7) == RT_OK ? 0 : -1;
}

static int remove_file(void **state) { return unlink(path); }

static void files_tell_what_they_hold(void **state) {
  rt_network *network;
  rt_network_info n;
  const float *logits;
  float x[2][PIXELS] = {{0}};
  ok(rt_network_open(path, NULL, &network));
  rt_network_describe(network, &n);
  assert_string_equal(n.model, "mlp");
  assert_string_equal(n.options, "hidden=3 classes=3");
  assert_true(n.channels == 3 && n.height == SIDE && n.width == SIDE && n.classes == CLASSES);
  assert_string_equal(n.class_name[2], "blue");
  assert_true(n.mean[1] == 0.25f && n.deviation[2] == 4);
  assert_true(n.shorter == 6 && strcmp(n.filter, "bicubic") == 0);
  assert_true(n.load.loaded == 4 && n.load.missing == 0);
  for (int i = 0; i < PIXELS; i++) x[1][i] = (float)(i / (SIDE * SIDE) + 1);
  ok(rt_network_run(network, x[0], 2, &logits));
  for (int c = 0; c < CLASSES; c++) assert_true(logits[c] == 0 && logits[CLASSES + c] == 16 * (float)(c + 1));
  rt_network_free(network);
}

/* Pixel (y, x) of a 4×4 image moved by d and mirrored at its edges, then flipped. */
static float seen(const float *image, int y, int x, int d, bool flip) {
  int from[] = {y + d, (flip ? SIDE - 1 - x : x) + d};
  for (int i = 0; i < 2; i++) from[i] = from[i] < 0 ? -from[i] : from[i] >= SIDE ? 2 * (SIDE - 1) - from[i] : from[i];
  return image[from[0] * SIDE + from[1]];
}

/* The network is linear, so the logits of views are weighted sums. */
static void views_are_averaged(void **state) {
  static const float weight[2][3] = {{1, 0, 0}, {0.5f, 0.25f, 0.25f}};
  float first[CLASSES][PIXELS] = {{0}}, second[CLASSES][CLASSES] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
        zero[CLASSES] = {0};
  float x[2 * PIXELS];
  for (int i = 0; i < PIXELS; i++) first[0][i] = (float)(1 + i * i % 7), first[1][i] = (float)(i % 5);
  for (int i = 0; i < 2 * PIXELS; i++) x[i] = (float)(i * i % 11);
  const rt_array arrays[] = {{"0.weight", RT_F32, 2, (int64_t[]){CLASSES, PIXELS}, first},
                             {"0.bias", RT_F32, 1, (int64_t[]){CLASSES}, zero},
                             {"2.weight", RT_F32, 2, (int64_t[]){CLASSES, CLASSES}, second},
                             {"2.bias", RT_F32, 1, (int64_t[]){CLASSES}, zero}};
  const rt_pair metadata[] = {{"model", "mlp"}, {"options", "hidden=3 classes=3"}, {"input", "3x4x4"}};
  char name[] = "/tmp/retort-views-XXXXXX.safetensors";
  int fd = mkstemps(name, 12);
  assert_true(fd >= 0);
  close(fd);
  ok(rt_file_write(name, arrays, 4, metadata, 3));
  for (int t = 0; t < 2; t++) {
    rt_network *network;
    const float *logits;
    rt_network_options o = {.tta = t ? RT_TTA_FLIP_TRANSLATE : RT_TTA_FLIP};
    ok(rt_network_open(name, &o, &network));
    ok(rt_network_run(network, x, 1, &logits)); /* and again with more images than there was memory for */
    ok(rt_network_run(network, x, 2, &logits));
    for (int n = 0; n < 2; n++)
      for (int c = 0; c < 2; c++) {
        float expected = 0;
        for (int flip = 0; flip < 2; flip++)
          for (int d = 0; d < 3; d++)
            for (int i = 0; i < PIXELS; i++)
              expected += 0.5f * weight[t][d] * first[c][i] *
                          seen(x + n * PIXELS + i / (SIDE * SIDE) * SIDE * SIDE, i / SIDE % SIDE, i % SIDE,
                               d == 2 ? -1 : d, flip);
        if (fabsf(logits[n * CLASSES + c] - expected) > 1e-3f * expected)
          fail_msg("tta %d, image %d, class %d: %g, expected %g", t, n, c, (double)logits[n * CLASSES + c],
                   (double)expected);
      }
    rt_network_free(network);
  }
  unlink(name);
}

static void callers_know_better(void **state) {
  rt_network *network;
  rt_network_info n;
  rt_network_options o = {.model = "mlp:hidden=3 classes=3", .mean = "0,0,0", .std = "1,1,1", .resize = "8"};
  ok(rt_network_open(path, &o, &network));
  rt_network_describe(network, &n);
  assert_true(n.mean[0] == 0 && n.deviation[2] == 1 && n.shorter == 8 && strcmp(n.filter, "bilinear") == 0);
  rt_network_free(network);
  o = (rt_network_options){.channels = 1};
  assert_int_equal(rt_network_open(path, &o, &network), RT_E_SHAPE);
  assert_null(network);
  assert_non_null(strstr(rt_error(), "takes images of 3 channels, and these have 1"));
  o = (rt_network_options){.height = -1};
  assert_int_equal(rt_network_open(path, &o, &network), RT_E_ARGUMENT);
  o = (rt_network_options){.model = "mlp:hidden=3 classes=4"};
  assert_int_equal(rt_network_open(path, &o, &network), RT_E_SHAPE);
  assert_non_null(strstr(rt_error(), "names 3 classes, and its model tells 4 apart"));
}

static void data_must_fit(void **state) {
  static const char *const options[] = {"shape=3,4,4 classes=4", "shape=3,4,5 classes=3",
                                        "shape=3,4,4 classes=3 test_images=0 test=0"};
  static const char *const sentence[] = {"tells 3 classes apart, and synthetic has 4",
                                         "3x4x4, and those of synthetic are 3x4x5", "synthetic has no test images"};
  rt_network *network;
  rt_metrics *metrics;
  ok(rt_network_open(path, NULL, &network));
  ok(rt_metrics_new(CLASSES, &metrics));
  for (int i = 0; i < 3; i++) {
    rt_data *data;
    ok(rt_data_open("synthetic", options[i], &data));
    assert_int_not_equal(rt_evaluate(network, data, RT_TEST, 16, metrics), RT_OK);
    if (!strstr(rt_error(), sentence[i])) fail_msg("\"%s\" isn't in: %s", sentence[i], rt_error());
    rt_data_free(data);
  }
  rt_metrics_free(metrics);
  rt_network_free(network);
}

/* The same counts whatever the batch, and as counted one by one. */
static void evaluation_counts_every_image(void **state) {
  rt_network *network;
  rt_metrics *metrics;
  rt_data *data;
  rt_score first, s;
  ok(rt_network_open(path, NULL, &network));
  ok(rt_metrics_new(CLASSES, &metrics));
  ok(rt_data_open("synthetic", "shape=3,4,4 classes=3 images=30 test_images=50", &data));
  ok(rt_evaluate(network, data, RT_TEST, 50, metrics));
  rt_metrics_score(metrics, &first);
  assert_int_equal(first.images, 50);

  rt_loader *loader;
  rt_batch b;
  const float *logits;
  int64_t correct = 0;
  ok(rt_loader_new(data, RT_TEST, "batch=1 ahead=0 mean=0.5,0.25,0.125 std=1,2,4", NULL, &loader));
  do {
    ok(rt_loader_next(loader, &b));
    ok(rt_network_run(network, b.x, 1, &logits));
    int taken = 0;
    for (int c = 1; c < CLASSES; c++) taken = logits[c] > logits[taken] ? c : taken;
    correct += taken == b.label[0];
  } while (!b.last);
  rt_loader_free(loader);
  assert_int_equal(first.correct, correct);

  for (int64_t batch = 1; batch < 60; batch += 13) {
    rt_metrics_clear(metrics);
    ok(rt_evaluate(network, data, RT_TEST, batch, metrics));
    rt_metrics_score(metrics, &s);
    assert_true(s.images == 50 && s.correct == first.correct);
    /* Products of other batches may sum in another order. */
    assert_true(fabs(s.loss - first.loss) <= 1e-6 && fabs(s.ece - first.ece) <= 1e-6);
  }
  rt_data_free(data);
  rt_metrics_free(metrics);
  rt_network_free(network);
}

static void memory_may_run_out(void **state) {
  rt_network *network;
  int64_t live = rt_alloc_count().live;
  for (int after = 0;; after++) {
    rt_alloc_fail_after(after);
    rt_status s = rt_network_open(path, NULL, &network);
    rt_alloc_fail_after(-1);
    if (s == RT_OK) break;
    if (s != RT_E_MEMORY) fail_msg("allocation %d: %s: %s", after, rt_status_name(s), rt_error());
    assert_null(network);
    assert_int_equal(rt_alloc_count().live, live);
  }
  rt_network_free(network);
  assert_int_equal(rt_alloc_count().live, live);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(files_tell_what_they_hold),     cmocka_unit_test(views_are_averaged),
      cmocka_unit_test(callers_know_better),           cmocka_unit_test(data_must_fit),
      cmocka_unit_test(evaluation_counts_every_image), cmocka_unit_test(memory_may_run_out),
  };
  return cmocka_run_group_tests(tests, write_file, remove_file);
}
