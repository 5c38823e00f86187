/* Small graphs through the whole of plan and passes; run under valgrind too. */
#include "base/alloc.h"
#include "plan/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

typedef struct fixture {
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
} fixture;

static fixture begin(void) {
  fixture f = {0};
  OK(rt_store_new(&f.store));
  OK(rt_graph_new(f.store, &f.graph));
  return f;
}

static void end(fixture *f) {
  rt_plan_free(f->plan);
  rt_graph_free(f->graph);
  rt_store_free(f->store);
}

static const float *result(const fixture *f, const char *name) {
  rt_result r;
  OK(rt_plan_result(f->plan, name, &r));
  return r.data;
}

static rt_value *variable(fixture *f, const char *name, double value) {
  return rt_parameter(f->graph, name, 1, (int64_t[]){4}, (rt_init){RT_INIT_CONSTANT, value, 0});
}

static void assign(fixture *f, rt_value *variable, rt_value *value) {
  rt_apply(f->graph, "assign", NULL, (rt_value *[]){variable, value}, 2, NULL);
}

static double stored(fixture *f, const char *name) {
  float v[4];
  OK(rt_store_get(f->store, name, v, sizeof v));
  for (int i = 1; i < 4; i++) assert_true(v[i] == v[0]);
  return (double)v[0];
}

/* Reads see the values from before the step, whatever is assigned in it. */
static void assign_reads_old(void **state) {
  fixture f = begin();
  rt_value *a = variable(&f, "a", 1), *b = variable(&f, "b", 10);
  rt_value *sum = rt_add(f.graph, a, b);
  rt_value *late = rt_mul(f.graph, sum, a); /* reads a after sum was computed */
  assign(&f, a, sum);
  rt_mark_output(f.graph, "late", late);
  rt_value *copy = variable(&f, "copy", 0);
  assign(&f, copy, a); /* the old a, although a is assigned too */
  OK(rt_plan_new(f.graph, NULL, &f.plan));
  OK(rt_plan_run(f.plan, NULL, 0));
  assert_true(stored(&f, "a") == 11 && stored(&f, "copy") == 1 && result(&f, "late")[3] == 11);
  OK(rt_plan_run(f.plan, NULL, 0));
  assert_true(stored(&f, "a") == 21 && stored(&f, "copy") == 11 && result(&f, "late")[0] == 231);
  end(&f);
}

static void assign_twice_is_refused(void **state) {
  fixture f = begin();
  rt_value *a = variable(&f, "a", 1), *b = variable(&f, "b", 10);
  assign(&f, a, b);
  assign(&f, a, rt_add(f.graph, a, b));
  OK(rt_plan_new(f.graph, NULL, &f.plan));
  assert_int_equal(rt_plan_run(f.plan, NULL, 0), RT_E_UNSUPPORTED);
  assert_non_null(strstr(rt_error(), "variable a is assigned twice"));
  end(&f);
}

/* What depends on variables only is computed again when one of them changes, and only then. */
static void prologue_follows_versions(void **state) {
  fixture f = begin();
  rt_value *w = variable(&f, "w", 2), *x = rt_input(f.graph, "x", RT_F32, 1, (rt_dim[]){4});
  rt_mark_output(f.graph, "y", rt_mul(f.graph, x, rt_mul(f.graph, w, w)));
  rt_plan_options options = {0};
  OK(rt_plan_new(f.graph, &options, &f.plan));
  const float ones[4] = {1, 1, 1, 1}, threes[4] = {3, 3, 3, 3};
  rt_feed feed = {"x", 1, (int64_t[]){4}, ones};
  for (int i = 0; i < 3; i++) OK(rt_plan_run(f.plan, &feed, 1));
  assert_true(result(&f, "y")[0] == 4);
  rt_step_info first, last;
  OK(rt_plan_step(f.plan, 0, &first));
  OK(rt_plan_step(f.plan, 1, &last));
  assert_int_equal(first.runs, 1);
  assert_int_equal(last.runs, 3);
  OK(rt_store_set(f.store, "w", threes, sizeof threes));
  OK(rt_plan_run(f.plan, &feed, 1));
  assert_true(result(&f, "y")[0] == 9);
  end(&f);
}

/* (N, heads, length, width) with a symbolic batch and length: nothing assumes images, one plan takes every length. */
static void symbolic_attention(void **state) {
  fixture f = begin();
  rt_graph *g = f.graph;
  rt_dim n = rt_symbol(g, "batch"), length = rt_symbol(g, "length"), dim[] = {n, 2, length, 3};
  rt_value *q = rt_input(g, "q", RT_F32, 4, dim), *k = rt_input(g, "k", RT_F32, 4, dim);
  rt_value *scores = rt_apply(g, "matmul", NULL, (rt_value *[]){q, k}, 2, "transpose_b=true");
  rt_value *attention = rt_apply(g, "softmax", NULL, &scores, 1, NULL);
  rt_mark_output(g, "y", rt_apply(g, "matmul", NULL, (rt_value *[]){attention, k}, 2, NULL));
  OK(rt_graph_status(g));
  OK(rt_pass_layout(&f.graph));
  OK(rt_plan_new(f.graph, NULL, &f.plan));
  for (int64_t l = 1; l < 6; l++) {
    float data[2 * 2 * 5 * 3];
    int64_t shape[] = {2, 2, l, 3};
    rt_result r;
    for (int i = 0; i < 60; i++) data[i] = sinf((float)i);
    rt_feed feeds[] = {{"q", 4, shape, data}, {"k", 4, shape, data}};
    OK(rt_plan_run(f.plan, feeds, 2));
    OK(rt_plan_result(f.plan, "y", &r));
    assert_int_equal(r.dim[2], l);
    for (int64_t lane = 0; lane < 4 * l; lane++) { /* by hand */
      const float *qi = data + lane * 3, *keys = data + lane / l * l * 3;
      double sum = 0, y[3] = {0};
      for (int64_t j = 0; j < l; j++) {
        double e = 0;
        for (int d = 0; d < 3; d++) e += (double)qi[d] * (double)keys[j * 3 + d];
        e = exp(e);
        sum += e;
        for (int d = 0; d < 3; d++) y[d] += e * (double)keys[j * 3 + d];
      }
      for (int d = 0; d < 3; d++) assert_true(fabs(y[d] / sum - (double)((const float *)r.data)[lane * 3 + d]) < 1e-5);
    }
  }
  int64_t odd[] = {2, 2, 4, 3}, other[] = {3, 2, 4, 3};
  rt_feed wrong[] = {{"q", 4, odd, NULL}, {"k", 4, other, NULL}};
  assert_int_equal(rt_plan_bind(f.plan, wrong, 2), RT_E_SHAPE);
  assert_non_null(strstr(rt_error(), "batch is 2 elsewhere"));
  end(&f);
}

static rt_value *small_network(rt_graph *g, rt_value **loss) {
  rt_dim n = rt_symbol(g, "batch"), dim[] = {n, 3, 8, 8};
  rt_value *x = rt_input(g, "x", RT_F32, 4, dim);
  rt_value *y = rt_relu(g, rt_batch_norm(g, "bn1", rt_conv2d(g, "conv1", x, 8, 3, true, "padding=1")));
  rt_value *z = rt_batch_norm(g, "bn2", rt_conv2d(g, "conv2", y, 8, 3, false, "padding=1"));
  y = rt_relu(g, rt_add(g, z, y));
  y = rt_apply(g, "max_pool2d", "pool", &y, 1, "kernel=2");
  y = rt_dropout(g, "drop", rt_apply(g, "flatten", NULL, &y, 1, NULL), rt_scalar_input(g, "rate", 0.25));
  rt_value *logits = rt_linear(g, "fc", y, 5, true);
  if (loss) *loss = rt_cross_entropy(g, logits, rt_input(g, "target", RT_S64, 1, &n), "label_smoothing=0.1");
  return logits;
}

static rt_status compile_with(fixture *f, bool bf16, const char *options) {
  rt_value *loss;
  rt_value *logits = small_network(f->graph, &loss);
  rt_mark_output(f->graph, "logits", logits);
  rt_mark_output(f->graph, "loss", loss);
  rt_status s = rt_graph_status(f->graph);
  if (s == RT_OK) s = rt_pass_fuse(&f->graph, NULL);
  if (s == RT_OK && bf16) s = rt_pass_cast(&f->graph, NULL, RT_BF16);
  if (s == RT_OK) s = rt_pass_train(&f->graph, "loss", options);
  if (s == RT_OK) s = rt_pass_layout(&f->graph);
  if (s == RT_OK) s = rt_pass_prune(&f->graph);
  return s == RT_OK ? rt_plan_new(f->graph, NULL, &f->plan) : s;
}

static rt_status compile_training(fixture *f, bool bf16) {
  return compile_with(f, bf16, "optimizer=adamw weight_decay=0.01");
}

enum { BATCH = 16 }; /* so that activations weigh more than workspaces, whatever the kernels */
static float images[BATCH * 3 * 8 * 8];
static int64_t targets[BATCH];

static int small_batch(rt_feed *feeds, int64_t *step) {
  static const int64_t shape[] = {BATCH, 3, 8, 8}, seed = 3;
  static const float rate = 0.01f;
  for (int i = 0; i < BATCH * 192; i++) images[i] = sinf(0.1f * (float)(i * i % 977));
  for (int i = 0; i < BATCH; i++) targets[i] = i % 5;
  feeds[0] = (rt_feed){"x", 4, shape, images};
  feeds[1] = (rt_feed){"target", 1, shape, targets};
  feeds[2] = (rt_feed){"lr", 0, NULL, &rate};
  feeds[3] = (rt_feed){"dropout_seed", 0, NULL, &seed};
  feeds[4] = (rt_feed){"step", 0, NULL, step};
  return 5;
}

static rt_status train(fixture *f, int steps, float *loss) {
  rt_feed feeds[5];
  rt_result r;
  rt_status s = rt_store_init(f->store, 1);
  for (int64_t i = 0; i < steps && s == RT_OK; i++) {
    s = rt_plan_run(f->plan, feeds, small_batch(feeds, &i));
    if (s == RT_OK) s = rt_plan_result(f->plan, "loss", &r);
    if (s == RT_OK) loss[i] = *(const float *)r.data;
  }
  return s;
}

static bool runs_references(const fixture *f) {
  bool any = false;
  for (int i = 0; i < rt_plan_steps(f->plan); i++) {
    rt_step_info step;
    OK(rt_plan_step(f->plan, i, &step));
    if (strcmp(step.kernel, "reference") == 0) {
      print_message("reference: %s %s\n", step.op, step.name);
      any = true;
    }
  }
  return any;
}

/* It learns, twice with the same bits, and nothing of ours is allocated in a step. */
static void training(void **state) {
  float loss[2][30];
  for (int i = 0; i < 2; i++) {
    fixture f = begin();
    OK(compile_training(&f, false));
    OK(train(&f, 2, loss[i]));
    int64_t before, after, live;
    rt_heap_counts(&before, &live);
    OK(train(&f, 30, loss[i]));
    rt_heap_counts(&after, &live);
    if (!runs_references(&f)) assert_int_equal(before, after); /* references take scratch memory */
    end(&f);
  }
  assert_memory_equal(loss[0], loss[1], sizeof loss[0]);
  assert_true(loss[0][29] < 0.7f * loss[0][0]);
}

/* Activations made again are those that were there, and the memory is not. */
static void recomputing(void **state) {
  float loss[2][10];
  int64_t arena[2];
  for (int i = 0; i < 2; i++) {
    fixture f = begin();
    OK(compile_with(&f, false, i ? "recompute=true" : "recompute=false"));
    OK(train(&f, 10, loss[i]));
    arena[i] = rt_plan_memory(f.plan).arena;
    end(&f);
  }
  for (int i = 0; i < 10; i++) assert_true(fabsf(loss[0][i] - loss[1][i]) < 1e-5f);
  assert_true(arena[1] < arena[0]);
}

/* Folded and fused for inference: the same logits as the evaluation form with nothing done to it. */
static void inference(void **state) {
  float loss[10], plain[BATCH * 5];
  fixture f = begin();
  OK(compile_training(&f, false));
  OK(train(&f, 10, loss));
  for (int optimised = 0; optimised < 2; optimised++) {
    fixture e = {.store = f.store};
    rt_feed feeds[5];
    int64_t step = 0;
    OK(rt_graph_new(e.store, &e.graph));
    rt_mark_output(e.graph, "logits", small_network(e.graph, NULL));
    OK(rt_pass_eval(&e.graph, NULL));
    if (optimised) {
      OK(rt_pass_fold_batch_norm(&e.graph, NULL));
      OK(rt_pass_fuse(&e.graph, NULL));
      OK(rt_pass_layout(&e.graph));
      for (int i = 0; i < e.graph->n_nodes; i++) assert_ptr_not_equal(e.graph->node[i]->op, RT_OP(batch_norm));
    }
    OK(rt_plan_new(e.graph, NULL, &e.plan));
    small_batch(feeds, &step);
    OK(rt_plan_run(e.plan, feeds, 1));
    const float *logits = result(&e, "logits");
    for (int i = 0; i < BATCH * 5 && optimised; i++) assert_true(fabsf(plain[i] - logits[i]) < 1e-4f);
    memcpy(plain, logits, sizeof plain);
    rt_plan_free(e.plan);
    rt_graph_free(e.graph);
  }
  end(&f);
}

/* Every allocation of building, training and running is made to fail once: an error, and nothing is leaked. */
static void allocations_fail(void **state) {
  int64_t calls, live, n = 0;
  for (int bf16 = 0; bf16 < 2; bf16++) {
    rt_heap_counts(&calls, &live);
    for (n = 0;; n++) {
      fixture f = {0};
      float loss[1];
      int64_t left, ignored;
      rt_alloc_fail_after(n);
      rt_status s = rt_store_new(&f.store);
      if (s == RT_OK) s = rt_graph_new(f.store, &f.graph);
      if (s == RT_OK) s = compile_training(&f, bf16);
      if (s == RT_OK) s = train(&f, 1, loss);
      rt_alloc_fail_after(-1);
      end(&f);
      rt_heap_counts(&ignored, &left);
      if (left != live)
        fail_msg("allocation %lld failed, and %lld blocks leaked", (long long)n, (long long)(left - live));
      if (s == RT_OK) break;
      if (s != RT_E_MEMORY)
        fail_msg("allocation %lld failed, and the status is %s: %s", (long long)n, rt_status_name(s), rt_error());
      assert_true(n < 5000);
    }
    assert_true(n > 20);
  }
  print_message("%lld allocations failed, one by one\n", (long long)n);
}

static void memory_is_refused_before_it_is_taken(void **state) {
  fixture f = begin();
  OK(compile_training(&f, false));
  int64_t shape[] = {(int64_t)1 << 33, 3, 8, 8}, huge[] = {INT64_MAX / 4, 3, 8, 8};
  rt_feed feeds[] = {{"x", 4, shape, NULL},
                     {"target", 1, shape, NULL},
                     {"lr", 0, NULL, NULL},
                     {"dropout_seed", 0, NULL, NULL},
                     {"step", 0, NULL, NULL}};
  assert_int_equal(rt_plan_bind(f.plan, feeds, 5), RT_E_MEMORY);
  assert_non_null(strstr(rt_error(), "bytes"));
  assert_non_null(strstr(rt_error(), "the largest piece is at"));
  feeds[0].dim = feeds[1].dim = huge;
  assert_int_not_equal(rt_plan_bind(f.plan, feeds, 5), RT_OK);
  end(&f);
}

static void bad_feeds(void **state) {
  fixture f = begin();
  float x[4] = {0};
  rt_mark_output(f.graph, "y",
                 rt_relu(f.graph, rt_input(f.graph, "x", RT_F32, 2, (rt_dim[]){rt_symbol(f.graph, "n"), 2})));
  OK(rt_plan_new(f.graph, NULL, &f.plan));
  struct {
    rt_feed feed;
    int n;
    const char *fragment;
  } bad[] = {
      {{"x", 2, (int64_t[]){2, 3}, x}, 1, "input x: expected f32[n, 2], found f32[2, 3]"},
      {{"x", 2, (int64_t[]){0, 2}, x}, 1, "above 0"},
      {{"x", 2, (int64_t[]){-4, 2}, x}, 1, "above 0"},
      {{"x", 1, (int64_t[]){2}, x}, 1, "found rank 1"},
      {{"xx", 2, (int64_t[]){2, 2}, x}, 1, "no input xx (did you mean x?)"},
      {{"x", 2, (int64_t[]){2, 2}, NULL}, 1, "no data"},
      {{"x", 2, (int64_t[]){2, 2}, x}, 0, "was not fed"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_not_equal(rt_plan_run(f.plan, &bad[i].feed, bad[i].n), RT_OK);
    if (!strstr(rt_error(), bad[i].fragment)) fail_msg("expected \"%s\" in: %s", bad[i].fragment, rt_error());
  }
  rt_result r;
  assert_int_equal(rt_plan_result(f.plan, "z", &r), RT_E_UNKNOWN);
  end(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(assign_reads_old),
      cmocka_unit_test(assign_twice_is_refused),
      cmocka_unit_test(prologue_follows_versions),
      cmocka_unit_test(symbolic_attention),
      cmocka_unit_test(training),
      cmocka_unit_test(inference),
      cmocka_unit_test(recomputing),
      cmocka_unit_test(allocations_fail),
      cmocka_unit_test(memory_is_refused_before_it_is_taken),
      cmocka_unit_test(bad_feeds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
