/* One training step and one evaluation of ResNet-18, in fp32 with whatever kernels the machine gets, against PyTorch's
 * float64 in resnet18.json. Weights and input follow from hashes, as in make_resnet.py. */
#include "base/rng.h"
#include "json_file.h"
#include "op/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

enum { BATCH = 4, CLASSES = 10, PROJECTIONS = 8 };

static const double bound = 1e-4; /* relative L2 distance */
static const cJSON *golden;

static const cJSON *get(const cJSON *object, const char *name) {
  return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* Word i of the stream of a name: splitmix64. */
static uint64_t mixed(uint64_t hash, int64_t i) {
  uint64_t z = (hash + (uint64_t)i) * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

static float *formula(const char *name, int64_t n, double center, double width) {
  float *v = malloc((size_t)n * sizeof *v);
  uint64_t hash = rt_hash_text(name);
  for (int64_t i = 0; i < n; i++) v[i] = (float)(center + width * (2 * ((double)(mixed(hash, i) >> 11) * 0x1p-53) - 1));
  return v;
}

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

static void fill_store(rt_store *store) {
  for (int i = 0; i < rt_store_count(store); i++) {
    rt_variable_info v;
    assert_int_equal(rt_store_info(store, i, &v), RT_OK);
    int64_t n = 1;
    for (int d = 0; d < v.rank; d++) n *= v.dim[d];
    float *data;
    if (v.rank > 1)
      data = formula(v.name, n, 0, sqrt(6 / (double)(n / v.dim[0]))); /* He, Zhang, Ren, Sun 2015 */
    else if (ends_with(v.name, "running_var") || ends_with(v.name, "weight"))
      data = formula(v.name, n, 1, 0.5);
    else
      data = formula(v.name, n, 0, 0.1);
    const cJSON *moved;
    cJSON_ArrayForEach(moved, get(get(golden, "moved"), v.name)) data[cJSON_GetArrayItem(moved, 0)->valueint] =
        (float)cJSON_GetArrayItem(moved, 1)->valuedouble;
    assert_int_equal(rt_store_set(store, v.name, data, (size_t)n * sizeof *data), RT_OK);
    free(data);
  }
}

/* Relative distance from the recorded numbers. */
static double distance(const float *v, const cJSON *values) {
  double far = 0, norm = 0;
  const cJSON *item;
  int i = 0;
  cJSON_ArrayForEach(item, values) {
    double d = (double)v[i++] - item->valuedouble;
    far += d * d;
    norm += item->valuedouble * item->valuedouble;
  }
  return sqrt(far / norm);
}

/* Estimated from the projections: the mean square of a difference's is its squared norm. */
static double estimate(const char *name, const float *v, int64_t n, const cJSON *recorded) {
  char stream[160];
  double sum[PROJECTIONS] = {0}, far = 0;
  snprintf(stream, sizeof stream, "sign of %s", name);
  uint64_t hash = rt_hash_text(stream);
  for (int64_t i = 0; i < n; i++) {
    uint64_t bits = mixed(hash, i);
    for (int j = 0; j < PROJECTIONS; j++) sum[j] += bits >> j & 1 ? -(double)v[i] : (double)v[i];
  }
  for (int j = 0; j < PROJECTIONS; j++) {
    double d = sum[j] - cJSON_GetArrayItem(get(recorded, "projections"), j)->valuedouble;
    far += d * d / PROJECTIONS;
  }
  return sqrt(far) / get(recorded, "norm")->valuedouble;
}

static void ok(rt_status s) {
  if (s != RT_OK) print_error("%s\n", rt_error());
  assert_int_equal(s, RT_OK);
}

static rt_graph *build(rt_store *store) {
  rt_graph *g;
  ok(rt_graph_new(store, &g));
  rt_value *x = rt_input(g, "x", RT_F32, 4, (rt_dim[]){rt_symbol(g, "batch"), 3, 32, 32});
  rt_value *target = rt_input(g, "target", RT_S64, 1, (rt_dim[]){rt_symbol(g, "batch")});
  rt_value *logits = rt_model(g, "resnet18", x, "classes=10 stem=cifar");
  rt_mark_output(g, "logits", logits);
  rt_mark_output(g, "loss", rt_cross_entropy(g, logits, target, NULL));
  ok(rt_graph_status(g));
  return g;
}

static rt_plan *run(rt_graph *g, rt_store *store) {
  rt_plan *plan;
  ok(rt_plan_new(g, NULL, &plan));
  ok(rt_store_init(store, 1));
  fill_store(store);
  float *x = formula("x", BATCH * 3 * 32 * 32, 0, 2);
  int64_t target[BATCH];
  for (int i = 0; i < BATCH; i++) target[i] = (3 * i + 1) % CLASSES;
  rt_feed feeds[] = {{"x", 4, (int64_t[]){BATCH, 3, 32, 32}, x}, {"target", 1, (int64_t[]){BATCH}, target}};
  ok(rt_plan_run(plan, feeds, 2));
  free(x);
  return plan;
}

static const float *result(rt_plan *plan, const char *name, int64_t *n) {
  rt_result r;
  ok(rt_plan_result(plan, name, &r));
  assert_int_equal(r.dtype, RT_F32);
  *n = 1;
  for (int i = 0; i < r.rank; i++) *n *= r.dim[i];
  return r.data;
}

static void check_numbers(rt_plan *plan, const char *output, const cJSON *values) {
  int64_t n;
  const float *v = result(plan, output, &n);
  assert_int_equal(n, cJSON_GetArraySize(values));
  double d = distance(v, values);
  print_message("%s: relative distance from PyTorch's float64 %.1e\n", output, d);
  assert_true(d <= bound);
}

typedef enum form { PLAIN, FUSED } form;

static void test_first_step(void **state) {
  const form *how = *state;
  rt_store *store;
  ok(rt_store_new(&store));
  rt_graph *g = build(store);
  if (*how == FUSED) ok(rt_pass_fuse(&g, NULL));

  rt_value *wrt[128], *grad[128];
  char name[128][96];
  int n = 0;
  for (int i = 0; i < rt_store_count(store); i++) {
    rt_variable_info v;
    ok(rt_store_info(store, i, &v));
    if (!v.parameter) continue;
    snprintf(name[n], sizeof name[n], "gradient of %s", v.name);
    wrt[n++] = rt_parameter(g, v.name, v.rank, v.dim, (rt_init){.kind = RT_INIT_ZERO});
  }
  ok(rt_gradients(rt_find(g, "loss"), wrt, n, grad));
  for (int i = 0; i < n; i++) rt_mark_output(g, name[i], grad[i]);
  if (*how == FUSED) ok(rt_pass_layout(&g));
  ok(rt_pass_prune(&g));
  rt_plan *plan = run(g, store);

  int64_t size;
  double loss = (double)*result(plan, "loss", &size), expected = get(golden, "loss")->valuedouble;
  print_message("loss %.6f, PyTorch %.6f\n", loss, expected);
  assert_true(fabs(loss - expected) <= bound * expected);
  check_numbers(plan, "logits", get(golden, "logits"));

  int wrong = 0;
  double furthest = 0;
  const cJSON *recorded;
  cJSON_ArrayForEach(recorded, get(golden, "tensors")) {
    const char *which = recorded->string;
    const float *v;
    float statistic[512];
    if (strncmp(which, "gradient", 8) == 0) {
      v = result(plan, which, &size);
    } else { /* running statistics, after the step */
      for (size = 64; rt_store_get(store, which, statistic, (size_t)size * sizeof *statistic) != RT_OK && size < 512;)
        size *= 2;
      v = statistic;
    }
    double d = estimate(which, v, size, recorded);
    furthest = fmax(furthest, d);
    if (!(d <= bound)) print_error("%s: relative distance %.1e\n", which, d);
    wrong += !(d <= bound);
  }
  print_message("%d tensors, the furthest is at %.1e\n", cJSON_GetArraySize(get(golden, "tensors")), furthest);
  assert_int_equal(wrong, 0);
  rt_plan_free(plan);
  rt_graph_free(g);
  rt_store_free(store);
}

static void test_evaluation(void **state) {
  const form *how = *state;
  rt_store *store;
  ok(rt_store_new(&store));
  rt_graph *g = build(store);
  ok(rt_pass_eval(&g, NULL));
  if (*how == FUSED) {
    ok(rt_pass_fold_batch_norm(&g, NULL));
    ok(rt_pass_fuse(&g, NULL));
    ok(rt_pass_layout(&g));
    ok(rt_pass_prune(&g));
  }
  rt_plan *plan = run(g, store);
  check_numbers(plan, "logits", get(golden, "evaluated"));
  rt_plan_free(plan);
  rt_graph_free(g);
  rt_store_free(store);
}

int main(void) {
  static const form plain = PLAIN, fused = FUSED;
  cJSON *json = json_file("tests/golden/resnet18.json");
  if (!json) return 1;
  golden = json;
  const struct CMUnitTest tests[] = {
      {"first step", test_first_step, NULL, NULL, (void *)(uintptr_t)&plain},
      {"first step, fused, channels last", test_first_step, NULL, NULL, (void *)(uintptr_t)&fused},
      {"evaluation", test_evaluation, NULL, NULL, (void *)(uintptr_t)&plain},
      {"evaluation, batch norm folded", test_evaluation, NULL, NULL, (void *)(uintptr_t)&fused},
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  cJSON_Delete(json);
  return failed;
}
