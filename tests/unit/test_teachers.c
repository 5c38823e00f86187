/* What teachers say, kept on disk: a run from it is the live run bit for bit, whoever wrote it and however it ended. */
#include "data_dir.h"
#include "runs.h"

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

static char teacher[1100], other[1100]; /* files of trained networks */

static rt_status distill(const char *name, rt_listener *listen, void *context, ...) {
  const rt_pair base[] = {{"model", "resnet8:width=4"},
                          {"data", "synthetic"},
                          {"data_options", "shape=1,8,8 images=150 test_images=20 noise=24"},
                          {"augment", "crop=1 flip"},
                          {"batch", "32"},
                          {"epochs", "3"},
                          {"draws", "2"},
                          {"lr", "0.02"},
                          {"precision", "fp32"},
                          {"threads", "1"},
                          {"teacher", teacher},
                          {"out", data_dir_path(name)}};
  va_list more;
  va_start(more, context);
  rt_status s = run_train(base, 12, listen, context, NULL, more);
  va_end(more);
  return s;
}

static int make_teachers(void **state) {
  (void)state;
  snprintf(teacher, sizeof teacher, "%s/teacher/model.last.pth", data_dir_make());
  snprintf(other, sizeof other, "%s", data_dir_path("other/model.last.pth"));
  if (distill("teacher", NULL, NULL, "model", "resnet8:width=6", "teacher", "", NULL) != RT_OK) return -1;
  return distill("other", NULL, NULL, "model", "mlp:hidden=16", "teacher", "", "seed", "7", NULL) == RT_OK ? 0 : -1;
}

static int remove_teachers(void **state) {
  (void)state;
  data_dir_remove();
  return 0;
}

static char *cache(const char *name) {
  static char path[1100];
  snprintf(path, sizeof path, "%s.safetensors", data_dir_path(name));
  return path;
}

static void same_bits(const char *a, const char *b) {
  static const char *const tensor[] = {"conv1.weight", "layer2.0.conv2.weight", "linear.weight", "bn1.running_var"};
  for (size_t i = 0; i < sizeof tensor / sizeof *tensor; i++) {
    double apart =
        run_apart(data_dir_path(a), "model.last.pth", tensor[i], data_dir_path(b), "model.last.pth", tensor[i]);
    if (apart != 0) fail_msg("%s of %s and %s are %g apart", tensor[i], a, b, apart);
  }
}

/* Rows of a cache that are there, of all. */
static int64_t rows(const char *name, int64_t *all) {
  rt_file *file;
  rt_file_info info;
  run_good(rt_file_open(cache(name), &file));
  run_good(rt_file_find(file, "check", &info));
  int64_t *check = malloc((size_t)info.bytes), n = info.bytes / 8, there = 0;
  run_good(rt_file_read(file, "check", check, (size_t)info.bytes));
  for (int64_t i = 0; i < n; i++) there += check[i] != 0;
  free(check);
  rt_file_free(file);
  *all = n;
  return there;
}

/* ---- the same bits ---- */

/* Live, from a cache that is being filled, and from a full one. */
static void live_and_kept(void **state) {
  static const char *const losses[] = {
      "cross_entropy:weight=0.1 kd:weight=0.9,temperature=4",
      "kd hint:layers=layer2:layer2+layer3:layer3 attention_transfer:weight=100,layers=layer1:layer1 rkd_distance"};
  static const char *const precision[] = {"fp32", "bf16"};
  (void)state;
  char name[4][16];
  int64_t all;
  for (int i = 0; i < 4; i++) {
    for (int k = 0; k < 4; k++) snprintf(name[k], sizeof name[k], "%c%d", "lfkc"[k], i);
    const char *l = losses[i / 2], *p = precision[i % 2], *kept = cache(name[3]);
    run_good(distill(name[0], NULL, NULL, "losses", l, "precision", p, NULL));
    run_good(distill(name[1], NULL, NULL, "losses", l, "precision", p, "cache_teacher", kept, NULL));
    assert_in_range(rows(name[3], &all), 2 * 128, 2 * 135); /* 4 batches of 32 of 135 images, in 2 draws */
    assert_int_equal(all, 2 * 135);
    run_good(distill(name[2], NULL, NULL, "losses", l, "precision", p, "cache_teacher", kept, NULL));
    same_bits(name[0], name[1]);
    same_bits(name[0], name[2]);
  }
}

/* One file for students of other seeds, temperatures, weights and orders; two teachers; parts of steps; mixed images. */
static void serves_others(void **state) {
  (void)state;
  char both[2300];
  snprintf(both, sizeof both, "%s;%s", teacher, other);
  const char *other_loss = "cross_entropy kd:weight=0.5,temperature=2";
  run_good(distill("s1", NULL, NULL, "cache_teacher", cache("s"), "augment_seed", "5", NULL));
  run_good(distill("s2", NULL, NULL, "cache_teacher", cache("s"), "augment_seed", "5", "seed", "3", "losses",
                   other_loss, NULL));
  run_good(distill("s3", NULL, NULL, "augment_seed", "5", "seed", "3", "losses", other_loss, NULL));
  same_bits("s2", "s3");
  const char *from = "kd:from=1 soft_cross_entropy:from=2 kd:as=mean";
  run_good(distill("m1", NULL, NULL, "cache_teacher", cache("m"), "teacher", both, "losses", from, "accumulate", "3",
                   "augment", "crop=1 mixup=0.4", "batch", "20", NULL));
  run_good(distill("m2", NULL, NULL, "teacher", both, "losses", from, "accumulate", "3", "augment", "crop=1 mixup=0.4",
                   "batch", "20", NULL));
  same_bits("m1", "m2");
}

/* ---- however it ended ---- */

static bool stop_at_5(void *context, const rt_news *news) {
  (void)context;
  return !(news->kind == RT_NEWS_STEP && news->step == 5);
}

/* A run that was stopped goes on; what killed writers may leave, half a row or none of it, is made again. */
static void half_written(void **state) {
  (void)state;
  int64_t all, before, n = 0;
  run_good(distill("whole", NULL, NULL, NULL));
  run_good(distill("stopped", stop_at_5, NULL, "cache_teacher", cache("h"), NULL));
  before = rows("h", &all);
  assert_in_range(before, 5 * 32 - 32, 5 * 32);
  run_good(distill("stopped", NULL, NULL, "cache_teacher", cache("h"), "resume", "true", NULL));
  same_bits("whole", "stopped");
  FILE *file = fopen(cache("h"), "r+b"); /* a number in the logits of every fourth row, a check in every fifth */
  assert_non_null(file);
  fseek(file, 0, SEEK_END);
  long size = ftell(file), checks = size - 8 * all, logits = checks - 40 * all;
  for (int64_t i = 0; i < all; i += 4) {
    fseek(file, logits + 40 * i + 8, SEEK_SET);
    fwrite(&n, 4, 1, file);
    fseek(file, checks + 8 * (i + i / 4), SEEK_SET);
    if (i + i / 4 < all) fwrite(&n, 8, 1, file);
  }
  fclose(file);
  run_good(distill("mended", NULL, NULL, "cache_teacher", cache("h"), NULL));
  same_bits("whole", "mended");
}

/* ---- the highest logits ---- */

/* Kept or being kept, a run is the same; as all classes it is the live one; what is kept is right. */
static void highest(void **state) {
  (void)state;
  const char *hot = "kd:temperature=1";
  run_good(distill("t0", NULL, NULL, "losses", hot, NULL));
  run_good(distill("t1", NULL, NULL, "losses", hot, "cache_teacher", cache("t3"), "cache_top", "3", NULL));
  run_good(distill("t2", NULL, NULL, "losses", hot, "cache_teacher", cache("t3"), "cache_top", "3", NULL));
  run_good(distill("t4", NULL, NULL, "losses", hot, "cache_teacher", cache("t10"), "cache_top", "10", NULL));
  same_bits("t1", "t2");
  same_bits("t0", "t4");
  double apart = run_apart(data_dir_path("t0"), "model.last.pth", "linear.weight", data_dir_path("t1"),
                           "model.last.pth", "linear.weight");
  assert_true(apart > 0 && apart < 0.05);
  rt_file *cut, *full;
  run_good(rt_file_open(cache("t3"), &cut));
  run_good(rt_file_open(cache("t10"), &full));
  int64_t n, m, classes = 10, top = 3;
  float *z = run_tensor(full, "teacher.logits", &n), *highest = run_tensor(cut, "teacher.top", &m);
  assert_int_equal(n / classes, m / (top + 1));
  for (int64_t i = 0; i < n / classes; i++) {
    float *row = z + i * classes, *kept = highest + i * (top + 1);
    double rest = 0;
    int larger = 0;
    for (int64_t c = 0; c < classes; c++) {
      larger += row[c] > kept[top - 1];
      rest += row[c] < kept[top - 1] ? exp((double)row[c]) : 0;
    }
    if (kept[0] == 0) continue; /* not asked for */
    assert_int_equal(larger, top - 1);
    assert_true(fabs(log(rest / 7) - (double)kept[top]) < 1e-5);
  }
  free(z);
  free(highest);
  rt_file_free(cut);
  rt_file_free(full);
}

/* ---- what is refused ---- */

static void foreign(const char *what, const char *setting, const char *value) {
  rt_status s = distill("refused", NULL, NULL, "cache_teacher", cache("whose"), setting, value, NULL);
  run_says(RT_E_ARGUMENT, s, what);
  assert_non_null(strstr(rt_error(), "whose"));
  assert_int_not_equal(access(data_dir_path("refused"), F_OK), 0);
}

static void refusals(void **state) {
  (void)state;
  run_good(distill("owner", NULL, NULL, "cache_teacher", cache("whose"), NULL));
  foreign("other teachers", "teacher", other);
  foreign("other teachers", "teacher_mean", "0.5");
  foreign("other images", "data_options", "shape=1,8,8 images=140 test_images=20 noise=24");
  foreign("changed otherwise", "augment", "flip");
  foreign("augment_seed", "seed", "1");
  foreign("precision", "teacher_precision", "bf16");
  foreign("highest", "cache_top", "2");
  foreign("draws", "draws", "3");
  foreign("teacher.layer2", "losses", "hint:layers=layer2:layer2");
  run_says(RT_E_ARGUMENT, distill("refused", NULL, NULL, "cache_teacher", teacher, NULL), "isn't a file of what");
  run_says(RT_E_ARGUMENT, distill("refused", NULL, NULL, "cache_teacher", cache("new"), "teacher_mode", "train", NULL),
           "teacher_mode");
  run_says(RT_E_ARGUMENT, distill("refused", NULL, NULL, "cache_teacher", cache("new"), "teacher", "", NULL),
           "there is none");
  assert_int_not_equal(access(cache("new"), F_OK), 0);
}

/* It says how large it gets, before it is made. */
static void size_is_told(void **state) {
  (void)state;
  char *text = run_text(data_dir_path("owner"), "metrics.jsonl");
  assert_non_null(strstr(text, "135 images in 2 draws, 48 bytes each, 0.0 MB"));
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(live_and_kept), cmocka_unit_test(serves_others),
                                     cmocka_unit_test(half_written),  cmocka_unit_test(highest),
                                     cmocka_unit_test(refusals),      cmocka_unit_test(size_is_told)};
  return cmocka_run_group_tests(tests, make_teachers, remove_teachers);
}
