/* What teachers say, kept on disk: a run from it is the live run bit for bit, whoever wrote it and however it ended. */
#include "data_dir.h"
#include "kernel/kernel.h"
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

/* oneDNN's kernels for AVX2 round an image's values by its place in the batch, so what a teacher said of it elsewhere differs
 * in the last bit there; everywhere else the bits are the same. */
static void same_bits(const char *a, const char *b) {
  double most = rt_cpu_get()->isa == RT_ISA_AVX2 ? 1e-6 : 0;
  static const char *const tensor[] = {"conv1.weight", "layer2.0.conv2.weight", "linear.weight", "bn1.running_var"};
  for (size_t i = 0; i < sizeof tensor / sizeof *tensor; i++) {
    double apart =
        run_apart(data_dir_path(a), "model.last.pth", tensor[i], data_dir_path(b), "model.last.pth", tensor[i]);
    if (!(apart <= most)) fail_msg("%s of %s and %s are %g apart", tensor[i], a, b, apart);
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

/* ---- what a teacher said, from elsewhere ---- */

enum { IMAGES = 150, TRAINED = 135, CLASSES = 10, PIXELS = 16 * 4 * 4 };

/* logits, layer2 and ids of the training images, out of a cache of plain images. */
typedef struct said {
  float logits[TRAINED * CLASSES], layer[TRAINED * PIXELS];
  int64_t ids[TRAINED];
} said;

static said *take_said(const char *from) {
  said *s = malloc(sizeof *s);
  rt_file *file;
  rt_data *data;
  int64_t label;
  assert_non_null(s);
  run_good(rt_file_open(cache(from), &file));
  run_good(rt_file_read(file, "teacher.logits", s->logits, sizeof s->logits));
  run_good(rt_file_read(file, "teacher.layer2", s->layer, TRAINED * 12 * 16 * sizeof(float)));
  run_good(rt_data_open("synthetic", "shape=1,8,8 images=150 test_images=20 noise=24", &data));
  for (int64_t i = 0; i < TRAINED; i++) run_good(rt_data_sample(data, RT_TRAIN, i, &s->ids[i], &label));
  rt_data_free(data);
  rt_file_free(file);
  return s;
}

static const char *write_said(const said *s, const char *name, int64_t rows, int64_t classes) {
  static char path[1100];
  int64_t logits[] = {rows, classes}, layer[] = {rows, 12, 4, 4};
  rt_array array[] = {{"logits", RT_F32, 2, logits, s->logits},
                      {"ids", RT_S64, 1, &rows, s->ids},
                      {"layer2", RT_F32, 4, layer, s->layer}};
  snprintf(path, sizeof path, "%s.npz", data_dir_path(name));
  run_good(rt_file_write(path, array, 3, NULL, 0));
  return path;
}

static void from_elsewhere(void **state) {
  (void)state;
  const char *losses = "cross_entropy kd:weight=0.5 hint:layers=layer2";
  run_good(distill("e0", NULL, NULL, "augment", "none", "losses", losses, NULL));
  run_good(distill("e1", NULL, NULL, "augment", "none", "losses", losses, "cache_teacher", cache("e"), NULL));
  said *s = take_said("e");
  const char *path = write_said(s, "said", TRAINED, CLASSES);
  run_good(
      distill("e2", NULL, NULL, "augment", "none", "losses", losses, "teacher", "", "teacher_outputs", path, NULL));
  same_bits("e0", "e1");
  same_bits("e0", "e2");
  run_good(distill("e3", NULL, NULL, "augment", "none", "losses", "kd attention_transfer", "teacher", other,
                   "teacher_outputs", path, "layers", "layer2:teacher2.layer2", "cache_teacher", cache("mixed"), NULL));
  run_good(distill("e4", NULL, NULL, "augment", "none", "losses", "kd attention_transfer", "teacher", other,
                   "teacher_outputs", path, "layers", "stage2:teacher2.stage1", NULL));
  same_bits("e3", "e4");
  free(s);
}

static void said_badly(void **state) {
  (void)state;
  said *s = take_said("e");
#define REFUSED(status, fragment, rows, classes, ...) \
  run_says(status, \
           distill("refused", NULL, NULL, "teacher", "", "teacher_outputs", write_said(s, "bad", rows, classes), \
                   __VA_ARGS__ __VA_OPT__(, ) NULL), \
           fragment)
  REFUSED(RT_E_ARGUMENT, "it says nothing of 35 of the 135 training images", 100, CLASSES);
  REFUSED(RT_E_SHAPE, "the student has 10 classes and the teacher 5", TRAINED, 5);
  REFUSED(RT_E_UNKNOWN, "layer7", TRAINED, CLASSES, "losses", "hint:layers=layer2:layer7");
  int64_t first = s->ids[0];
  s->ids[0] = s->ids[1];
  REFUSED(RT_E_FORMAT, "is there twice, in rows 0 and 1", TRAINED, CLASSES);
  s->ids[0] = 150 + 20;
  REFUSED(RT_E_RANGE, "ids[0] is 170, and the samples of synthetic are 0 to 169", TRAINED, CLASSES);
  s->ids[0] = first;
  s->logits[7 * CLASSES + 3] = NAN;
  REFUSED(RT_E_RANGE, "logits of row 7 isn't finite", TRAINED, CLASSES);
#undef REFUSED
  run_says(RT_E_UNKNOWN, distill("refused", NULL, NULL, "teacher", "", "teacher_outputs", teacher, NULL), "logits");
  assert_int_not_equal(access(data_dir_path("refused"), F_OK), 0);
  free(s);
}

/* ---- images without a label ---- */

static const char *write_half_labelled(void) {
  static char text[1100];
  static uint8_t x[80 * 16];
  static int64_t y[80];
  static float logits[80 * 4];
  int64_t shape[] = {80, 1, 4, 4}, n = 80, answers[] = {80, 4};
  for (int i = 0; i < 80 * 16; i++) x[i] = (uint8_t)(i * 37 % 256);
  for (int i = 0; i < 80; i++) y[i] = i % 2 ? -1 : i / 2 % 4;
  for (int i = 0; i < 80 * 4; i++) logits[i] = (float)sin(i);
  rt_array data[] = {{"X", RT_U8, 4, shape, x}, {"y", RT_S64, 1, &n, y}},
           outputs = {"logits", RT_F32, 2, answers, logits};
  snprintf(text, sizeof text, "npz:%s", data_dir_path("half.npz"));
  run_good(rt_file_write(text + 4, data, 2, NULL, 0));
  run_good(rt_file_write(data_dir_path("half-said.npz"), &outputs, 1, NULL, 0));
  return text;
}

static rt_status half(const char *name, const char *setting, const char *value, const char *setting2,
                      const char *value2) {
  return distill(name, NULL, NULL, "data", write_half_labelled(), "data_options", "", "model", "mlp:hidden=8",
                 "augment", "none", "teacher", "", "teacher_outputs", data_dir_path("half-said.npz"), setting, value,
                 setting2, value2, NULL);
}

static void without_labels(void **state) {
  (void)state;
  rt_pair few[] = {{"model", "mlp:hidden=8"}, {"data", write_half_labelled()}, {"losses", "cross_entropy"}};
  char *text;
  run_good(rt_train_explain(few, 3, &text));
  /* A tenth each of the 40 labelled ones to test, and of the other 36 to validate. */
  if (!strstr(text, "72 training, 4 validation, 4 test images; 40 of the training images have no label"))
    fail_msg("explained: %s", text);
  rt_text_free(text);
  /* The loss is a sum over samples, however a step is split. */
  run_good(half("one-part", "batch", "24", "epochs", "3"));
  run_good(half("parts", "batch", "24", "accumulate", "5"));
  double apart = run_apart(data_dir_path("one-part"), "model.last.pth", "0.weight", data_dir_path("parts"),
                           "model.last.pth", "0.weight");
  assert_true(apart < 1e-4);
  run_says(RT_E_ARGUMENT, half("refused", "losses", "dkd", "epochs", "1"), "dkd needs every image's label, and 40");
  run_says(RT_E_ARGUMENT, half("refused", "augment", "mixup=0.5", "epochs", "1"),
           "40 of the training images have none");
}

/* ---- in int8 ---- */

static double distance(const float *a, const float *b, int64_t n) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < n; i++) {
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    size += (double)b[i] * (double)b[i];
  }
  return sqrt(difference / size);
}

/* A network that retort quantize wrote teaches, logits and layers, about what the float one does. */
static void in_int8(void **state) {
  (void)state;
  char int8[1100];
  snprintf(int8, sizeof int8, "%s", data_dir_path("int8.pth"));
  rt_pair make[] = {
      {"model", teacher}, {"data", "synthetic"}, {"data_options", "shape=1,8,8 images=150 test_images=20 noise=24"},
      {"images", "100"},  {"out", int8},         {"threads", "1"}};
  run_good(rt_quantize(make, 6, NULL, NULL, NULL));
  const char *losses = "kd hint:layers=layer2";
  run_good(distill("i0", NULL, NULL, "augment", "none", "losses", losses, "cache_teacher", cache("i0"), NULL));
  run_good(distill("i1", NULL, NULL, "augment", "none", "losses", losses, "cache_teacher", cache("i1"), "teacher", int8,
                   "teacher_precision", "int8", NULL));
  run_good(distill("i2", NULL, NULL, "augment", "none", "losses", losses, "teacher", int8, NULL));
  same_bits("i1", "i2");
  said *a = take_said("i0"), *b = take_said("i1");
  double logits = distance(b->logits, a->logits, TRAINED * CLASSES),
         layer = distance(b->layer, a->layer, TRAINED * 192);
  if (!(logits > 0 && logits < 0.1 && layer > 0 && layer < 0.1)) fail_msg("int8 is %g and %g off", logits, layer);
  free(a);
  free(b);
  run_good(distill("i3", NULL, NULL, "teacher", int8, "losses", "kd hint rkd_distance",
                   NULL)); /* layers found by themselves */
  run_says(RT_E_ARGUMENT, distill("refused", NULL, NULL, "teacher_precision", "int8", NULL), "retort quantize");
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(live_and_kept),  cmocka_unit_test(serves_others),
                                     cmocka_unit_test(half_written),   cmocka_unit_test(highest),
                                     cmocka_unit_test(refusals),       cmocka_unit_test(size_is_told),
                                     cmocka_unit_test(from_elsewhere), cmocka_unit_test(said_badly),
                                     cmocka_unit_test(without_labels), cmocka_unit_test(in_int8)};
  return cmocka_run_group_tests(tests, make_teachers, remove_teachers);
}
