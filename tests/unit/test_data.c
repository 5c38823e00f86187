/* Splits, statistics, and the loader: the same batches whoever prepares them and wherever a run begins. */
#include "base/alloc.h"
#include "data/data.h"
#include "data_dir.h"
#include "retort.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

static rt_data *open_data(const char *text, const char *options) {
  rt_data *data;
  if (rt_data_open(text, options, &data) != RT_OK) fail_msg("%s", rt_error());
  return data;
}

static rt_loader *open_loader(const rt_data *data, rt_split split, const char *options, const char *augment) {
  rt_loader *loader;
  if (rt_loader_new(data, split, options, augment, &loader) != RT_OK) fail_msg("%s", rt_error());
  return loader;
}

static rt_batch next(rt_loader *loader) {
  rt_batch batch;
  if (rt_loader_next(loader, &batch) != RT_OK) fail_msg("%s", rt_error());
  return batch;
}

static void says(rt_status expected, rt_status status, const char *fragment) {
  assert_int_equal(status, expected);
  if (!strstr(rt_error(), fragment)) fail_msg("expected \"%s\" in: %s", fragment, rt_error());
}

/* ---- splits ---- */

static void count_split(const rt_data *data, rt_split split, int *by_class, char *seen) {
  rt_data_info info;
  rt_data_describe(data, &info);
  for (int64_t i = 0, before = -1; i < info.count[split]; i++) {
    int64_t id, label;
    assert_int_equal(rt_data_sample(data, split, i, &id, &label), RT_OK);
    assert_true(id > before);
    before = id;
    by_class[label]++;
    assert_int_equal(seen[id]++, 0); /* in one split only */
  }
}

static void splits(void **state) {
  rt_data *data = open_data("synthetic", "images=1000 test_images=100 classes=7 shape=1,4,4");
  rt_data_info info;
  char seen[1100] = {0};
  int train[7] = {0}, validation[7] = {0}, test[7] = {0};
  rt_data_describe(data, &info);
  assert_true(info.count[RT_TRAIN] == 900 && info.count[RT_VALIDATION] == 100 && info.count[RT_TEST] == 100);
  count_split(data, RT_TRAIN, train, seen);
  count_split(data, RT_VALIDATION, validation, seen);
  count_split(data, RT_TEST, test, seen);
  for (int c = 0; c < 7; c++) /* 142 or 143 of a class: a tenth of it, to an image */
    assert_true(validation[c] >= 14 && validation[c] <= 15 && train[c] >= 128 && train[c] <= 129);
  int64_t id, label;
  says(RT_E_RANGE, rt_data_sample(data, RT_TRAIN, 900, &id, &label), "no image 900");
  rt_data_free(data);

  data = open_data("synthetic", "images=1000 test_images=0 classes=10 shape=1,4,4 validation=0 test=0");
  rt_data_describe(data, &info);
  assert_true(info.count[RT_TRAIN] == 1000 && info.count[RT_VALIDATION] == 0 && info.count[RT_TEST] == 0);
  rt_data_free(data);
}

static void subsets(void **state) {
  rt_data_info info;
  int by_class[10] = {0}, others[10] = {0};
  char seen[1100] = {0}, again[1100] = {0};
  rt_data *data = open_data("synthetic", "images=1000 test_images=100 shape=1,4,4 subset=50 validation=0");
  rt_data_describe(data, &info);
  assert_true(info.count[RT_TRAIN] == 50 && info.count[RT_VALIDATION] == 0 && info.count[RT_TEST] == 100);
  count_split(data, RT_TRAIN, by_class, seen);
  for (int c = 0; c < 10; c++) assert_int_equal(by_class[c], 5);
  rt_data_free(data);
  data = open_data("synthetic", "images=1000 test_images=100 shape=1,4,4 subset=50 validation=0 split_seed=1");
  count_split(data, RT_TRAIN, others, again);
  assert_true(memcmp(seen, again, sizeof seen) != 0);
  rt_data_free(data);
  says(RT_E_ARGUMENT, rt_data_open("synthetic", "images=1000 shape=1,4,4 subset=1001", &data), "only 1000 images");
}

static void statistics(void **state) {
  rt_data *data = open_data("synthetic", "images=300 shape=2,5,6");
  rt_data_info info;
  rt_data_describe(data, &info);
  rt_loader *loader = open_loader(data, RT_TRAIN, "batch=64 ahead=0 mean=0,0 std=1,1", NULL);
  double sum[2] = {0}, square[2] = {0}, n = 0;
  rt_batch b;
  do {
    b = next(loader);
    for (int64_t i = 0; i < b.n * 60; i++) {
      double v = (double)b.x[i];
      sum[i / 30 % 2] += v;
      square[i / 30 % 2] += v * v;
    }
    n += 30.0 * (double)b.n;
  } while (!b.last);
  for (int c = 0; c < 2; c++) {
    assert_true(fabs(sum[c] / n - (double)info.mean[c]) < 1e-6);
    assert_true(fabs(sqrt(square[c] / n - sum[c] / n * (sum[c] / n)) - (double)info.deviation[c]) < 1e-6);
  }
  rt_loader_free(loader);
  rt_data_free(data);
}

/* ---- the loader ---- */

static const char *const everything =
    "crop=2 flip brightness=0.3 contrast=0.3 saturation=0.3 hue=0.1 cutout=3 mixup=0.4 cutmix=1";

typedef struct record {
  int64_t n, epoch, index, id[32], draw[32], label[32];
  bool last;
  float x[32 * 3 * 8 * 8], target[32 * 10];
} record;

static void take(rt_loader *loader, record *r) {
  rt_batch b = next(loader);
  memset(r, 0, sizeof *r);
  r->n = b.n;
  r->epoch = b.epoch;
  r->index = b.index;
  r->last = b.last;
  memcpy(r->id, b.id, (size_t)b.n * sizeof *b.id);
  memcpy(r->draw, b.draw, (size_t)b.n * sizeof *b.draw);
  memcpy(r->label, b.label, (size_t)b.n * sizeof *b.label);
  memcpy(r->x, b.x, (size_t)(b.n * 3 * 64) * sizeof *b.x);
  if (b.target) memcpy(r->target, b.target, (size_t)(b.n * 10) * sizeof *b.target);
}

enum { BATCHES = 12 }; /* of three epochs: 100 images by 32 */

static void same_whoever_prepares(void **state) {
  static const char *const ways[] = {"ahead=0", "ahead=1", "ahead=3", "ahead=5 threads=4", "ahead=2 threads=8"};
  record *expected = calloc(BATCHES, sizeof *expected), *r = calloc(1, sizeof *r);
  rt_data *data = open_data("synthetic", "images=100 validation=0 shape=3,8,8");
  for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
    char options[128];
    snprintf(options, sizeof options, "batch=32 shuffle %s", ways[w]);
    rt_loader *loader = open_loader(data, RT_TRAIN, options, everything);
    assert_int_equal(rt_loader_batches(loader), 4);
    for (int i = 0; i < BATCHES; i++) {
      take(loader, w ? r : &expected[i]);
      if (w) assert_memory_equal(r, &expected[i], sizeof *r);
      assert_true(expected[i].epoch == i / 4 && expected[i].index == i % 4 && expected[i].last == (i % 4 == 3));
      assert_int_equal(expected[i].n, i % 4 == 3 ? 4 : 32);
    }
    for (int i = BATCHES - 1; i >= 0; i--) { /* resume at every batch, backwards */
      assert_int_equal(rt_loader_seek(loader, i / 4, i % 4), RT_OK);
      for (int k = i; k < i + 2 && k < BATCHES; k++) {
        take(loader, r);
        assert_memory_equal(r, &expected[k], sizeof *r);
      }
    }
    says(RT_E_RANGE, rt_loader_seek(loader, 0, 4), "no batch 4");
    rt_loader_free(loader); /* with batches prepared that nobody takes */
  }
  rt_data_free(data);
  free(expected);
  free(r);
}

/* Every image once an epoch, in another order each time; x follows from id and draw alone. */
static void orders(void **state) {
  enum { N = 100, PIXELS = 3 * 64 };
  float *first = calloc(2 * N * PIXELS, sizeof *first);
  rt_data *data = open_data("synthetic", "images=100 validation=0 shape=3,8,8");
  rt_loader *loader = open_loader(data, RT_TRAIN, "batch=7 shuffle draws=2", everything);
  int64_t orders[2][N];
  for (int epoch = 0; epoch < 4; epoch++) {
    int seen[N] = {0}, at = 0;
    rt_batch b;
    do {
      b = next(loader);
      for (int64_t i = 0; i < b.n; i++, at++) {
        assert_int_equal(b.draw[i], epoch % 2);
        assert_int_equal(seen[b.id[i]]++, 0);
        orders[epoch % 2][at] = b.id[i];
        float *x = first + (b.draw[i] * N + b.id[i]) * PIXELS;
        if (epoch < 2)
          memcpy(x, b.x + i * PIXELS, PIXELS * sizeof *x);
        else
          assert_memory_equal(x, b.x + i * PIXELS, PIXELS * sizeof *x);
      }
    } while (!b.last);
    assert_int_equal(at, N);
    if (epoch == 1) assert_true(memcmp(orders[0], orders[1], sizeof orders[0]) != 0);
  }
  rt_loader_free(loader);
  /* Another order and batch size, another thread count: the same variants. */
  loader = open_loader(data, RT_TRAIN, "batch=31 shuffle order_seed=5 threads=3", everything);
  for (int i = 0; i < 4; i++) {
    rt_batch b = next(loader);
    for (int64_t k = 0; k < b.n; k++)
      assert_memory_equal(first + b.id[k] * PIXELS, b.x + k * PIXELS, PIXELS * sizeof *b.x);
  }
  rt_loader_free(loader);
  /* Another seed of augmentation: other variants. */
  loader = open_loader(data, RT_TRAIN, "batch=31 augment_seed=1", everything);
  rt_batch b = next(loader);
  assert_true(memcmp(first + b.id[0] * PIXELS, b.x, PIXELS * sizeof *b.x) != 0);
  rt_loader_free(loader);
  rt_data_free(data);
  free(first);
}

/* What rt_loader_next gave stays as it is until the next call, however far the threads have come. */
static void held_batch(void **state) {
  record *r = calloc(1, sizeof *r);
  rt_data *data = open_data("synthetic", "images=100 validation=0 shape=3,8,8");
  rt_loader *loader = open_loader(data, RT_TRAIN, "batch=32 ahead=1", "crop=2");
  for (int i = 0; i < 8; i++) {
    rt_batch b = next(loader);
    memcpy(r->x, b.x, (size_t)(b.n * 3 * 64) * sizeof *b.x);
    usleep(5000);
    assert_memory_equal(r->x, b.x, (size_t)(b.n * 3 * 64) * sizeof *b.x);
  }
  rt_loader_free(loader);
  rt_data_free(data);
  free(r);
}

static void drop_last(void **state) {
  rt_data *data = open_data("synthetic", "images=100 validation=0 shape=3,8,8");
  rt_loader *loader = open_loader(data, RT_TRAIN, "batch=32 drop_last", NULL);
  assert_int_equal(rt_loader_batches(loader), 3);
  for (int i = 0; i < 6; i++) {
    rt_batch b = next(loader);
    assert_true(b.n == 32 && b.last == (i % 3 == 2) && !b.target);
    assert_int_equal(b.id[0], i % 3 * 32); /* without shuffle: in order */
  }
  rt_loader_free(loader);
  rt_data_free(data);
}

/* ---- several sets over the same files ---- */

static void shared(void **state) {
  static uint8_t pixels[20 * 4 * 4];
  char text[128];
  int64_t live = rt_alloc_count().live;
  data_dir_make();
  snprintf(text, sizeof text, "mnist:%s", data_dir_path(""));
  data_dir_mnist(pixels, 20, 4, 4);
  rt_data *all = open_data(text, "validation=0"), *some = open_data(text, "validation=0 subset=10");
  assert_true(all->pixel == some->pixel && all->label == some->label);
  assert_true(all->count[RT_TRAIN] == 20 && some->count[RT_TRAIN] == 10);
  rt_data_free(all); /* the other one goes on */
  rt_loader *loader = open_loader(some, RT_TRAIN, "batch=10", NULL);
  next(loader);
  rt_loader_free(loader);
  memset(pixels, 200, sizeof pixels);
  data_dir_mnist(pixels, 20, 4, 4);
  rt_data *new = open_data(text, "validation=0"); /* of files that have changed */
  assert_true(new->pixel != some->pixel &&new->mean[0] > 0.5f && some->mean[0] < 0.5f);
  rt_data_free(some);
  data_dir_write("unrelated", pixels, 1); /* there may be another file now that comes before one of them */
  rt_data *newer = open_data(text, "validation=0");
  assert_true(newer->pixel != new->pixel);
  rt_data_free(new);
  rt_data_free(newer);
  data_dir_remove();
  rt_data *one = open_data("synthetic", "shape=1,4,4 seed=1"), *two = open_data("synthetic", "shape=1,4,4 seed=2");
  assert_true(one->pixel != two->pixel); /* no files that would tell */
  rt_data_free(one);
  rt_data_free(two);
  assert_int_equal(rt_alloc_count().live, live);
}

/* ---- pictures in memory, scaled ---- */

static void scaled(void **state) {
  enum { N = 5, SIDE = 9, HEIGHT = 4, WIDTH = 6 };
  static uint8_t pixels[N * SIDE * SIDE];
  char text[128];
  for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 37 % 251);
  data_dir_make();
  snprintf(text, sizeof text, "mnist:%s", data_dir_path(""));
  data_dir_mnist(pixels, N, SIDE, SIDE);
  rt_data *as_it_is = open_data(text, "validation=0 size=0"), *small = open_data(text, "validation=0 size=4,6");
  assert_true(as_it_is->height == SIDE && small->height == HEIGHT && small->width == WIDTH);
  assert_memory_equal(as_it_is->pixel, pixels, sizeof pixels);
  for (int64_t i = 0; i < N; i++) {
    rt_image image = {SIDE, SIDE, 1, pixels + i * SIDE * SIDE}, expected;
    assert_int_equal(rt_image_resize(&image, HEIGHT, WIDTH, "bilinear", &expected), RT_OK);
    assert_memory_equal(small->pixel + i * HEIGHT * WIDTH, expected.pixel, HEIGHT * WIDTH);
    rt_image_release(&expected);
  }
  rt_data_free(as_it_is);
  rt_data_free(small);
  data_dir_remove();
}

/* ---- what goes wrong ---- */

static void refusals(void **state) {
  rt_data *data;
  rt_loader *loader;
  says(RT_E_UNKNOWN, rt_data_open("cifer10", NULL, &data), "did you mean cifar10?");
  says(RT_E_ARGUMENT, rt_data_open("imagefolder", NULL, &data), "imagefolder:PATH");
  says(RT_E_ARGUMENT, rt_data_open("synthetic", "validation=2", &data), "outside 0 to 1");
  says(RT_E_IO, rt_data_open("cifar10:/nowhere", NULL, &data), "/nowhere: there is no data_batch_1.bin");
  data = open_data("synthetic", "images=100 validation=0 shape=3,8,8");
  static const struct {
    rt_split split;
    const char *options, *augment, *fragment;
  } bad[] = {
      {RT_VALIDATION, NULL, NULL, "no validation images"},
      {RT_TRAIN, "batch=101 drop_last", NULL, "leaves nothing of the 100"},
      {RT_TRAIN, "mean=1,2", NULL, "expected 3 numbers"},
      {RT_TRAIN, "mean=1,2,3,4", NULL, "expected 3 numbers"},
      {RT_TRAIN, "std=1,1,x", NULL, "expected 3 numbers"},
      {RT_TRAIN, "std=1,0,1", NULL, "above 0"},
      {RT_TRAIN, NULL, "crop=8 reflect", "too much to be mirrored"},
      {RT_TRAIN, NULL, "crop=1 resized_crop=0.5", "exclude each other"},
      {RT_TRAIN, NULL, "rotate=5", "unknown option rotate"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    says(RT_E_ARGUMENT, rt_loader_new(data, bad[i].split, bad[i].options, bad[i].augment, &loader), bad[i].fragment);
  rt_data_free(data);
}

/* An image that vanishes while a thread reads ahead: the caller is told, as often as it asks. */
static void vanished_file(void **state) {
  uint8_t pixel[8 * 8 * 3] = {0};
  rt_image image = {8, 8, 3, pixel};
  data_dir_make();
  for (int i = 0; i < 8; i++) {
    char name[64];
    snprintf(name, sizeof name, "%s/%d.png", i % 2 ? "cat" : "dog", i);
    assert_int_equal(rt_image_write(data_dir_path(name), &image), RT_OK);
  }
  char text[128];
  snprintf(text, sizeof text, "imagefolder:%s", data_dir_path(""));
  rt_data *data = open_data(text, "size=8 shorter=8 memory=0 validation=0 test=0");
  rt_loader *loader = open_loader(data, RT_TRAIN, "batch=2 ahead=1", NULL);
  next(loader);
  rt_batch batch;
  assert_int_equal(unlink(data_dir_path("dog/4.png")), 0); /* of the last batch but one */
  rt_status s = RT_OK;
  for (int i = 0; i < 4 && s == RT_OK; i++) s = rt_loader_next(loader, &batch);
  for (int i = 0; i < 3; i++) says(RT_E_IO, rt_loader_next(loader, &batch), "dog/4.png: can't be");
  assert_int_equal(rt_loader_seek(loader, 0, 0), RT_OK);
  next(loader);
  rt_loader_free(loader);
  rt_data_free(data);
  data_dir_remove();
}

/* Each allocation of opening, loading and scaling fails once: an error, and nothing is lost. */
static int fail_everywhere(const char *text, const char *options) {
  int64_t before = rt_alloc_count().live;
  int failures = 0;
  for (int64_t after = 0;; after++) {
    rt_data *data = NULL;
    rt_loader *loader = NULL;
    rt_batch batch;
    rt_alloc_fail_after(after);
    rt_status s = rt_data_open(text, options, &data);
    if (s == RT_OK) s = rt_loader_new(data, RT_TRAIN, "batch=8 ahead=2", "resized_crop=0.3 mixup=1", &loader);
    for (int i = 0; i < 4 && s == RT_OK; i++) s = rt_loader_next(loader, &batch);
    rt_alloc_fail_after(-1);
    rt_loader_free(loader);
    rt_data_free(data);
    assert_int_equal(rt_alloc_count().live, before);
    if (s == RT_OK) break;
    assert_int_equal(s, RT_E_MEMORY);
    failures++;
  }
  return failures;
}

static void failing_memory(void **state) {
  static const uint8_t pixels[20 * 4 * 4];
  char text[128];
  assert_true(fail_everywhere("synthetic", "images=20 shape=3,8,8") > 30);
  data_dir_make();
  snprintf(text, sizeof text, "mnist:%s", data_dir_path(""));
  data_dir_mnist(pixels, 20, 4, 4);
  int alone = fail_everywhere(text, NULL);
  rt_data *other = open_data(text, NULL);
  int beside = fail_everywhere(text, NULL);
  assert_true(beside > 20 && beside < alone);
  rt_data_free(other);
  assert_true(fail_everywhere(text, "size=2") > alone + 2 * 20);
  data_dir_remove();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(splits),        cmocka_unit_test(subsets),
                                     cmocka_unit_test(statistics),    cmocka_unit_test(same_whoever_prepares),
                                     cmocka_unit_test(orders),        cmocka_unit_test(drop_last),
                                     cmocka_unit_test(held_batch),    cmocka_unit_test(refusals),
                                     cmocka_unit_test(shared),        cmocka_unit_test(scaled),
                                     cmocka_unit_test(vanished_file), cmocka_unit_test(failing_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
