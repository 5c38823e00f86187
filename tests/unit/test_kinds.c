/* Kinds of distillation that are more than one teacher and one student: chains, deep supervision, peers. */
#include "base/alloc.h"
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

static rt_status train(const char *name, rt_listener *listen, void *context, ...) {
  const rt_pair base[] = {{"model", "resnet8:width=4"},
                          {"data", "synthetic"},
                          {"data_options", "shape=1,8,8 images=150 test_images=20 noise=24"},
                          {"augment", "flip"},
                          {"batch", "32"},
                          {"epochs", "2"},
                          {"lr", "0.02"},
                          {"precision", "fp32"},
                          {"threads", "1"},
                          {"out", data_dir_path(name)}};
  va_list more;
  va_start(more, context);
  rt_status s = run_train(base, 10, listen, context, NULL, more);
  va_end(more);
  return s;
}

static int make(void **state) {
  (void)state;
  data_dir_make();
  return 0;
}

static int clean(void **state) {
  (void)state;
  data_dir_remove();
  return 0;
}

static const char *model_of(const char *run) {
  static char path[1100];
  snprintf(path, sizeof path, "%s/model.best.pth", data_dir_path(run));
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

/* ---- chains ---- */

static bool stop_in_second(void *context, const rt_news *news) {
  int *begun = context;
  *begun += news->kind == RT_NEWS_BEGIN;
  return !(*begun == 2 && news->kind == RT_NEWS_STEP && news->step == 5);
}

/* Three generations are three runs, each from the one before; stopped in the second, the chain goes on by itself. */
static void born_again(void **state) {
  (void)state;
  int begun = 0;
  run_good(train("chain", NULL, NULL, "generations", "3", NULL));
  run_good(train("g1", NULL, NULL, "init_seed", "2", NULL));
  run_good(train("g2", NULL, NULL, "init_seed", "1", "teacher", model_of("g1"), NULL));
  run_good(train("g3", NULL, NULL, "teacher", model_of("g2"), NULL));
  same_bits("chain/1-resnet8", "g1");
  same_bits("chain/2-resnet8", "g2");
  same_bits("chain", "g3");
  run_good(train("broken", stop_in_second, &begun, "generations", "3", NULL));
  assert_int_equal(access(data_dir_path("broken/model.last.pth"), F_OK), -1);
  rt_pair go_on[] = {{"out", data_dir_path("broken")}, {"resume", "true"}};
  run_good(rt_train(go_on, 2, NULL, NULL, NULL));
  same_bits("chain", "broken");
}

/* A teacher, an assistant between it and the student, with the same losses all the way. */
static void assistants(void **state) {
  (void)state;
  const char *losses = "cross_entropy kd:weight=0.5,temperature=2";
  run_good(
      train("through", NULL, NULL, "teacher", model_of("g1"), "through", "mlp:hidden=16;same", "losses", losses, NULL));
  run_good(train("t1", NULL, NULL, "teacher", model_of("g1"), "model", "mlp:hidden=16", "init_seed", "2", "losses",
                 losses, NULL));
  run_good(train("t2", NULL, NULL, "teacher", model_of("t1"), "init_seed", "1", "losses", losses, NULL));
  run_good(train("t3", NULL, NULL, "teacher", model_of("t2"), "losses", losses, NULL));
  same_bits("through", "t3");
  /* The wide one of its kind, whom nobody teaches, learns from labels alone; the narrow one as it is told. */
  run_good(train("narrow", NULL, NULL, "through", "resnet8:width=8", "losses", losses, NULL));
  run_good(train("w1", NULL, NULL, "model", "resnet8:width=8", "init_seed", "1", NULL));
  run_good(train("w2", NULL, NULL, "teacher", model_of("w1"), "losses", losses, NULL));
  same_bits("narrow", "w2");
}

static void chain_refusals(void **state) {
  (void)state;
  char *text;
  run_says(RT_E_ARGUMENT, train("bad", NULL, NULL, "generations", "2", "through", "resnet14", NULL),
           "give one of them");
  run_says(RT_E_ARGUMENT, train("bad", NULL, NULL, "generations", "2", "cache_teacher", "x", NULL), "cache_teacher");
  assert_int_equal(access(data_dir_path("bad"), F_OK), -1);
  run_says(RT_E_ARGUMENT, train("chain", NULL, NULL, "generations", "2", NULL), "there is a run already");
  rt_pair told[] = {{"model", "resnet8:width=4"},
                    {"data", "synthetic"},
                    {"data_options", "shape=1,8,8 images=100"},
                    {"through", "resnet14:width=4;same"}};
  run_good(rt_train_explain(told, 4, &text));
  assert_non_null(strstr(text, "chain     resnet14:width=4 → resnet8:width=4 → resnet8:width=4"));
  assert_non_null(strstr(text, "0.9·kd"));
  rt_text_free(text);
}

/* ---- deep supervision ---- */

static int tensors(const char *run, const char *file, const char *begin) {
  rt_file *f = run_file(data_dir_path(run), file);
  int n = 0;
  for (int i = 0; i < rt_file_count(f); i++) {
    rt_file_info info;
    run_good(rt_file_entry(f, i, &info));
    n += strncmp(info.name, begin, strlen(begin)) == 0;
  }
  rt_file_free(f);
  return n;
}

static bool stop_at_3(void *context, const rt_news *news) {
  (void)context;
  return !(news->kind == RT_NEWS_STEP && news->step == 3);
}

/* Heads teach inner layers, are in the checkpoint, and in no model. */
static void deep(void **state) {
  (void)state;
  const char *losses = "cross_entropy deep_supervision:temperature=2,width=8";
  char *text;
  run_good(train("plain", NULL, NULL, NULL));
  run_good(train("deep", NULL, NULL, "losses", losses, NULL));
  assert_true(run_apart(data_dir_path("plain"), "model.last.pth", "conv1.weight", data_dir_path("deep"),
                        "model.last.pth", "conv1.weight") > 1e-4);
  assert_int_equal(tensors("deep", "model.last.pth", ""), tensors("plain", "model.last.pth", ""));
  assert_int_equal(tensors("deep", "checkpoint.safetensors", "adapter.deep_supervision.layer"), 6);
  run_good(train("deep2", stop_at_3, NULL, "losses", losses, NULL));
  run_good(train("deep2", NULL, NULL, "losses", losses, "resume", "true", NULL));
  same_bits("deep", "deep2");
  rt_pair told[] = {{"model", "resnet8"},
                    {"data", "synthetic"},
                    {"data_options", "shape=1,8,8 images=100"},
                    {"losses", "cross_entropy deep_supervision"}};
  run_good(rt_train_explain(told, 4, &text));
  assert_non_null(strstr(text, "layers    deep_supervision: layer1 16x8x8 of the student"));
  assert_non_null(strstr(text, "layers    deep_supervision: layer2 32x4x4 of the student"));
  assert_null(strstr(text, "deep_supervision: layer3"));
  rt_text_free(text);
  run_says(RT_E_ARGUMENT, train("bad", NULL, NULL, "model", "mlp:hidden=8", "losses", "deep_supervision", NULL),
           "layers=layer1+layer2");
  run_says(RT_E_UNKNOWN, train("bad", NULL, NULL, "losses", "deep_supervision:layers=layer9", NULL), "layer9");
}

/* ---- peers ---- */

/* The sum of what is learned, by all. */
static bool sums_up(void *context, const rt_news *news) {
  (void)context;
  (void)news;
  return true;
}

static void peers(void **state) {
  (void)state;
  const char *alone = "cross_entropy kd:from=1,weight=0";
  run_good(train("mutual", sums_up, NULL, "peers", "mlp:hidden=16;same", NULL));
  run_good(train("mutual2", stop_at_3, NULL, "peers", "mlp:hidden=16;same", NULL));
  run_good(train("mutual2", NULL, NULL, "peers", "mlp:hidden=16;same", "resume", "true", NULL));
  same_bits("mutual", "mutual2");
  assert_int_equal(tensors("mutual", "model.last.pth", ""), tensors("plain", "model.last.pth", ""));
  assert_int_equal(tensors("mutual", "checkpoint.safetensors", "peer1."), 4);
  assert_true(tensors("mutual", "checkpoint.safetensors", "peer2.layer3") > 0);
  /* A student that doesn't listen is alone among its peers, and those that do come near to it. */
  run_good(train("deaf", NULL, NULL, "peers", "same", "losses", alone, NULL));
  same_bits("deaf", "plain");
  run_good(
      train("led", NULL, NULL, "peers", "same", "teacher", model_of("plain"), "losses", "kd:from=1 kd:from=2", NULL));
  run_says(RT_E_ARGUMENT, train("bad", NULL, NULL, "peers", "same", "losses", "hint:layers=layer1:layer1", NULL),
           "terms that look at logits");
  run_says(RT_E_UNKNOWN, train("bad", NULL, NULL, "peers", "resnet9", NULL), "resnet9");
  run_says(RT_E_ARGUMENT, train("bad", NULL, NULL, "peers", "same", "losses", "kd:from=2", NULL), "from=2");
}

/* ---- without memory ---- */

/* Whichever allocation fails, a run that has peers, heads, what a teacher said, and a cache ends with a sentence and gives all back. */
static void failing_memory(void **state) {
  (void)state;
  char cache[1100], said[1100];
  static float logits[150 * 10];
  int64_t dim[] = {150, 10};
  rt_array array = {"logits", RT_F32, 2, dim, logits};
  snprintf(said, sizeof said, "%s", data_dir_path("said.npz"));
  snprintf(cache, sizeof cache, "%s", data_dir_path("kept.safetensors"));
  run_good(rt_file_write(said, &array, 1, NULL, 0));
  const char *losses = "cross_entropy deep_supervision:width=4 kd";
  int64_t before = rt_alloc_count().live, calls = rt_alloc_count().calls;
  run_good(train("all", NULL, NULL, "teacher", model_of("g1"), "teacher_outputs", said, "peers", "mlp:hidden=4",
                 "cache_teacher", cache, "losses", losses, "epochs", "1", NULL));
  calls = rt_alloc_count().calls - calls;
  int failures = 0;
  for (int64_t after = 0; after < calls; after += 2 + after / 24) {
    rt_alloc_fail_after(after);
    rt_status s =
        train("memory", NULL, NULL, "teacher", model_of("g1"), "teacher_outputs", said, "peers", "mlp:hidden=4",
              "cache_teacher", cache, "losses", losses, "epochs", "1", "resume", "true", NULL);
    rt_alloc_fail_after(-1);
    assert_int_equal(rt_alloc_count().live, before);
    if (s == RT_OK) break;
    if (s != RT_E_MEMORY && !strstr(rt_error(), "memory"))
      fail_msg("allocation %lld of %lld: %s", (long long)after, (long long)calls, rt_error());
    failures++;
  }
  assert_true(failures > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(born_again),     cmocka_unit_test(assistants),
                                     cmocka_unit_test(chain_refusals), cmocka_unit_test(deep),
                                     cmocka_unit_test(peers),          cmocka_unit_test(failing_memory)};
  return cmocka_run_group_tests(tests, make, clean);
}
