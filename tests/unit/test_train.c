/* The training pass: what a step changes, and what it must leave alone. */
#include "base/alloc.h"
#include "base/rng.h"
#include "pass/pass.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

enum { BATCH = 12, FEATURES = 6, CLASSES = 3 };

typedef struct fixture {
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
} fixture;

static void end(fixture *f) {
  rt_plan_free(f->plan);
  rt_graph_free(f->graph);
  rt_store_free(f->store);
}

/* Convolutions with batch norm between them, or a perceptron. */
static rt_status build(rt_graph *g, bool norm) {
  rt_value *x = rt_input(g, "x", RT_F32, 4, (rt_dim[]){rt_symbol(g, "batch"), FEATURES, 2, 2}), *y;
  if (norm) {
    y = rt_relu(g, rt_batch_norm(g, "bn1", rt_conv2d(g, "conv1", x, 4, 1, false, NULL)));
    y = rt_relu(g, rt_batch_norm(g, "bn2", rt_conv2d(g, "conv2", y, 8, 1, true, NULL)));
    y = rt_apply(g, "flatten", NULL, &y, 1, NULL);
    y = rt_linear(g, "fc", y, CLASSES, true);
  } else {
    y = rt_model(g, "mlp", x, "hidden=8,5 classes=3");
  }
  rt_mark_output(g, "loss",
                 rt_cross_entropy(g, y, rt_input(g, "target", RT_S64, 1, (rt_dim[]){rt_symbol(g, "batch")}), NULL));
  return rt_graph_status(g);
}

static rt_status compile(fixture *f, bool norm, bool low, const char *options) {
  rt_status s = rt_store_new(&f->store);
  if (s == RT_OK) s = rt_graph_new(f->store, &f->graph);
  if (s == RT_OK) s = build(f->graph, norm);
  if (s == RT_OK && low) s = rt_pass_cast(&f->graph, NULL, RT_BF16);
  if (s == RT_OK) s = rt_pass_train(&f->graph, "loss", options);
  if (s == RT_OK) s = rt_pass_layout(&f->graph);
  if (s == RT_OK) s = rt_pass_prune(&f->graph);
  if (s == RT_OK) s = rt_plan_new(f->graph, NULL, &f->plan);
  if (s == RT_OK) s = rt_store_init(f->store, 5);
  return s;
}

static fixture trained(bool norm, const char *options) {
  fixture f = {0};
  OK(compile(&f, norm, false, options));
  return f;
}

static float images[BATCH * FEATURES * 4];
static int64_t labels[BATCH];

static void make_data(void) {
  for (int i = 0; i < BATCH * FEATURES * 4; i++) images[i] = rt_normal((rt_rng){3, 4}, 0, (uint64_t)i);
  for (int i = 0; i < BATCH; i++) labels[i] = i % CLASSES;
}

static rt_status step(fixture *f, int first, int count, float update, float share) {
  float lr = 0.1f;
  int64_t dim[] = {count, FEATURES, 2, 2};
  rt_feed feeds[] = {{"x", 4, dim, images + first * FEATURES * 4},
                     {"target", 1, dim, labels + first},
                     {"lr", 0, NULL, &lr},
                     {"update", 0, NULL, &update},
                     {"share", 0, NULL, &share}};
  bool accumulates = rt_find(f->graph, "update") != NULL;
  return rt_plan_run(f->plan, feeds, accumulates ? 5 : 3);
}

static double result(const fixture *f, const char *name) {
  rt_result r;
  OK(rt_plan_result(f->plan, name, &r));
  return (double)*(const float *)r.data;
}

/* ---- the store, variable by variable ---- */

typedef struct snapshot {
  float value[2048];
  int at[64], n;
} snapshot;

static void take(const fixture *f, snapshot *s) {
  *s = (snapshot){0};
  for (int i = 0, at = 0; i < rt_store_count(f->store); i++) {
    const rt_var *v = f->store->var[i];
    int64_t n = rt_type_elements(&v->type);
    assert_true(i < 63 && at + n <= 2048);
    OK(rt_store_get(f->store, v->name, s->value + at, (size_t)n * sizeof(float)));
    s->at[i] = at;
    s->at[i + 1] = at += (int)n;
    s->n = i + 1;
  }
}

static double distance(const snapshot *a, const snapshot *b, int i) {
  double far = 0;
  for (int k = a->at[i]; k < a->at[i + 1]; k++) far = fmax(far, fabs((double)a->value[k] - (double)b->value[k]));
  return far;
}

static int find(const fixture *f, const char *name) {
  for (int i = 0; i < f->store->n; i++)
    if (strcmp(f->store->var[i]->name, name) == 0) return i;
  fail_msg("no variable %s", name);
  return -1;
}

/* ---- tests ---- */

static const char *const every[] = {"optimizer=sgd", "optimizer=adamw", "optimizer=muon nesterov=true",
                                    "optimizer=muon rest=adamw normalize=true"};

static const char *with(const char *optimizer, const char *more) {
  static char text[256];
  snprintf(text, sizeof text, "%s %s", optimizer, more);
  return text;
}

static void what_is_not_finite_changes_nothing(void **state) {
  for (size_t o = 0; o < sizeof every / sizeof *every; o++) {
    fixture f = trained(true, with(every[o], "weight_decay=0.01 check=true ema=0.9 accumulate=true"));
    snapshot before, after;
    OK(step(&f, 0, 4, 1, 1));
    assert_true(result(&f, "finite") == 1 && result(&f, "grad_norm") > 0);
    take(&f, &before);
    float kept = images[7];
    images[7] = NAN;
    OK(step(&f, 0, 4, 1, 1));
    images[7] = kept;
    assert_true(result(&f, "finite") == 0);
    take(&f, &after);
    for (int i = 0; i < before.n; i++) {
      const char *name = f.store->var[i]->name; /* the sum of gradients is begun anew by the next step */
      if (strstr(name, ".grad")) continue;
      if (distance(&before, &after, i) != 0) fail_msg("%s: %s changed", every[o], name);
    }
    OK(step(&f, 4, 4, 1, 1)); /* and the next step is as good as any */
    assert_true(result(&f, "finite") == 1);
    take(&f, &after);
    for (int i = 0; i < before.n; i++) {
      if (!(distance(&before, &after, i) < 100)) fail_msg("%s: %s is bad", every[o], f.store->var[i]->name);
      if (f.store->var[i]->segment != RT_SEGMENT_STATE && distance(&before, &after, i) == 0)
        fail_msg("%s: %s stays", every[o], f.store->var[i]->name);
    }
    end(&f);
  }
}

static void a_split_batch_is_the_same_step(void **state) {
  for (size_t o = 0; o < sizeof every / sizeof *every; o++) {
    fixture whole = trained(false, with(every[o], "clip=0.5 weight_decay=0.01 ema=0.5"));
    fixture split = trained(false, with(every[o], "clip=0.5 weight_decay=0.01 ema=0.5 accumulate=true"));
    assert_null(rt_coupled_layer(split.graph));
    double furthest = 0;
    for (int k = 0; k < 3; k++) {
      snapshot a, b;
      OK(step(&whole, 0, BATCH, 1, 1));
      OK(step(&split, 0, 2, 0, 2.0f / BATCH));
      OK(step(&split, 2, 7, 0, 7.0f / BATCH));
      OK(step(&split, 9, 3, 1, 3.0f / BATCH));
      assert_true(fabs(result(&whole, "grad_norm") - result(&split, "grad_norm")) < 1e-6);
      take(&whole, &a);
      take(&split, &b);
      for (int i = 0; i < a.n; i++) {
        int j = find(&split, whole.store->var[i]->name);
        for (int e = 0; e < a.at[i + 1] - a.at[i]; e++)
          furthest = fmax(furthest, fabs((double)a.value[a.at[i] + e] - (double)b.value[b.at[j] + e]));
      }
    }
    print_message("%s: furthest %.2g\n", every[o], furthest);
    assert_true(furthest < 1e-6);
    end(&whole);
    end(&split);
  }
}

static void between_micro_batches_no_parameter_moves(void **state) {
  fixture f = trained(true, "accumulate=true ema=0.9");
  snapshot a, b;
  assert_string_equal(rt_coupled_layer(f.graph), "bn1");
  take(&f, &a);
  OK(step(&f, 0, 6, 0, 0.5f));
  take(&f, &b);
  for (int i = 0; i < a.n; i++) {
    const rt_var *v = f.store->var[i];
    bool moves =
        v->segment == RT_SEGMENT_STATISTIC || strstr(v->name, ".grad") || strcmp(v->name, "optimizer.begun") == 0;
    assert_int_equal(distance(&a, &b, i) != 0, moves);
  }
  end(&f);
}

static int count(const rt_graph *g, const rt_op *op) {
  int n = 0;
  for (int i = 0; i < g->n_nodes; i++) n += g->node[i]->op == op;
  return n;
}

static void decay_spares_norms_and_biases(void **state) {
  fixture all = trained(true, "momentum=0 weight_decay=10"),
          some = trained(true, "momentum=0 weight_decay=10 decay=weights");
  fixture none = trained(true, "momentum=0");
  assert_int_equal(count(all.graph, RT_OP(sgd)), 1);
  assert_int_equal(count(some.graph, RT_OP(sgd)), 2);
  snapshot a, s, n;
  OK(step(&all, 0, BATCH, 1, 1));
  OK(step(&some, 0, BATCH, 1, 1));
  OK(step(&none, 0, BATCH, 1, 1));
  take(&all, &a);
  take(&some, &s);
  take(&none, &n);
  int decayed = 0, spared = 0;
  for (int i = 0; i < n.n; i++) {
    const rt_var *v = none.store->var[i];
    if (v->segment != RT_SEGMENT_PARAMETER) continue;
    bool weight = v->type.rank > 1;
    assert_true(distance(&s, weight ? &a : &n, i) == 0);
    if (weight) assert_true(distance(&s, &n, i) > 0);
    *(weight ? &decayed : &spared) += 1;
  }
  assert_int_equal(decayed, 3);
  assert_int_equal(spared, 6);
  end(&all);
  end(&some);
  end(&none);
}

/* Averages start as copies and follow by the decay; a graph over them reads them. */
static void averages_follow(void **state) {
  fixture f = trained(true, "ema=0.75");
  snapshot s[3];
  for (int k = 0; k < 3; k++) {
    OK(step(&f, 4 * k, 4, 1, 1));
    take(&f, &s[k]);
  }
  static const char *const names[] = {"conv1.weight", "bn1.bias", "bn2.running_mean", "bn1.running_var", "fc.bias"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char average[64];
    snprintf(average, sizeof average, "%s.ema", names[i]);
    int v = find(&f, names[i]), e = find(&f, average);
    for (int k = 0; k < s[0].at[v + 1] - s[0].at[v]; k++) {
      double mean = (double)s[0].value[s[0].at[v] + k];
      assert_true((double)s[0].value[s[0].at[e] + k] == mean);
      for (int t = 1; t < 3; t++) mean = 0.75 * mean + 0.25 * (double)s[t].value[s[t].at[v] + k];
      assert_true(fabs((double)s[2].value[s[2].at[e] + k] - mean) < 1e-6);
    }
  }
  rt_graph *g;
  OK(rt_graph_new(f.store, &g));
  OK(build(g, true));
  assert_int_equal(rt_pass_ema(&g), RT_E_ARGUMENT);
  assert_non_null(strstr(rt_error(), "rt_pass_eval"));
  OK(rt_pass_eval(&g, NULL));
  OK(rt_pass_ema(&g));
  int read = 0;
  for (int i = 0; i < g->n_values; i++) {
    if (g->value[i]->kind != RT_VALUE_VARIABLE) continue;
    assert_non_null(strstr(g->value[i]->name, ".ema"));
    read++;
  }
  assert_int_equal(read, 5 + 8);
  rt_graph_free(g);
  OK(rt_graph_new(f.store, &g));
  rt_mark_output(g, "y", rt_parameter(g, "other", 0, NULL, (rt_init){0}));
  assert_int_equal(rt_pass_ema(&g), RT_E_ARGUMENT);
  assert_non_null(strstr(rt_error(), "no averages"));
  rt_graph_free(g);
  end(&f);
}

static void clipping_bounds_the_step(void **state) {
  fixture f = trained(true, "momentum=0 clip=0.01");
  snapshot a, b;
  take(&f, &a);
  OK(step(&f, 0, BATCH, 1, 1));
  take(&f, &b);
  double square = 0;
  for (int i = 0; i < a.n; i++)
    for (int k = a.at[i]; f.store->var[i]->segment == RT_SEGMENT_PARAMETER && k < a.at[i + 1]; k++)
      square += pow((double)a.value[k] - (double)b.value[k], 2);
  assert_true(result(&f, "grad_norm") > 0.1);
  assert_true(fabs(sqrt(square) - 0.1 * 0.01) < 1e-6);
  end(&f);
}

/* Not for the first and the last, norms and biases. Singular values of its step are near 1. */
static void check_muon(bool low) {
  fixture f = {0};
  OK(compile(&f, true, low, "optimizer=muon"));
  assert_int_equal(count(f.graph, RT_OP(sgd)), 1);
  for (int i = 0; i < f.graph->n_nodes; i++) {
    const rt_node *node = f.graph->node[i];
    if (node->op != RT_OP(sgd)) continue;
    assert_int_equal(node->n_in, 4 + 3 * 8);
    for (int j = 0; j < node->n_in; j++) assert_string_not_equal(node->in[j]->name, "conv2.weight");
  }
  snapshot a, b;
  take(&f, &a);
  OK(step(&f, 0, BATCH, 1, 1));
  take(&f, &b);
  int w = find(&f, "conv2.weight"); /* 8×4, tall: gain sqrt(2) */
  for (int c = 0; c < 4; c++) {
    double norm = 0;
    for (int r = 0; r < 8; r++)
      norm += pow(((double)a.value[a.at[w] + 4 * r + c] - (double)b.value[b.at[w] + 4 * r + c]) / 0.1, 2);
    assert_true(norm > 2 * 0.3 && norm < 2 * 1.7);
  }
  end(&f);
}

static void muon_is_for_hidden_matrices(void **state) {
  check_muon(false);
  check_muon(true);
}

static void nothing_is_paid_for_what_is_off(void **state) {
  fixture f = trained(true, NULL);
  assert_int_equal(count(f.graph, RT_OP(blend)) + count(f.graph, RT_OP(global_norm)), 0);
  assert_null(rt_find(f.graph, "finite"));
  for (int i = 0; i < f.store->n; i++)
    if (f.store->var[i]->segment == RT_SEGMENT_STATE) assert_non_null(strstr(f.store->var[i]->name, ".momentum"));
  end(&f);
}

static void bad_options_are_refused(void **state) {
  fixture f = {0};
  assert_int_equal(compile(&f, false, false, "optimizer=lion"), RT_E_ARGUMENT);
  assert_non_null(strstr(rt_error(), "sgd|adamw|muon"));
  end(&f);
  f = trained(false, "clip=1");
  float limit = -1, lr = 0.1f;
  int64_t dim[] = {4, FEATURES, 2, 2};
  rt_feed feeds[] = {
      {"x", 4, dim, images}, {"target", 1, dim, labels}, {"lr", 0, NULL, &lr}, {"clip", 0, NULL, &limit}};
  assert_int_equal(rt_plan_run(f.plan, feeds, 4), RT_E_RANGE);
  assert_non_null(strstr(rt_error(), "above 0"));
  end(&f);
}

static void every_allocation_may_fail(void **state) {
  static const char *const all =
      "optimizer=muon rest=adamw normalize=true clip=1 accumulate=true ema=0.9 decay=weights";
  int64_t live, left, ignored, n = 0;
  rt_heap_counts(&ignored, &live);
  for (rt_status s = RT_E_MEMORY; s != RT_OK; n++) {
    fixture f = {0};
    assert_true(n < 5000);
    rt_alloc_fail_after(n);
    s = compile(&f, true, true, all);
    rt_alloc_fail_after(-1);
    if (s != RT_OK && s != RT_E_MEMORY) fail_msg("allocation %lld failed, and: %s", (long long)n, rt_error());
    end(&f);
    rt_heap_counts(&ignored, &left);
    assert_int_equal(left, live);
  }
  assert_true(n > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_not_finite_changes_nothing),
      cmocka_unit_test(a_split_batch_is_the_same_step),
      cmocka_unit_test(between_micro_batches_no_parameter_moves),
      cmocka_unit_test(decay_spares_norms_and_biases),
      cmocka_unit_test(averages_follow),
      cmocka_unit_test(clipping_bounds_the_step),
      cmocka_unit_test(muon_is_for_hidden_matrices),
      cmocka_unit_test(nothing_is_paid_for_what_is_off),
      cmocka_unit_test(bad_options_are_refused),
      cmocka_unit_test(every_allocation_may_fail),
  };
  make_data();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
