/* Walks the op table: whatever row is there is checked, without being named here.
 *   gradients   finite differences in f64, reference kernels
 *   kernels     the chosen kernel against the reference, f32 and bf16, both memory orders
 *   errors      each error case is refused with its sentence */
#include "base/alloc.h"
#include "cases.h"
#include "kernel/kernel.h"

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

/* Weight of element i of output k in the sum that is differentiated. */
static double weight(int k, int64_t i) { return cos(0.37 * (double)i + 0.11 * k + 0.5); }

typedef struct fixture {
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  rt_value *first;
} fixture;

static void fixture_free(fixture *f) {
  rt_plan_free(f->plan);
  rt_graph_free(f->graph);
  rt_store_free(f->store);
}

static const char *output_name(int k) {
  static char name[16];
  snprintf(name, sizeof name, "y%d", k);
  return name;
}

static fixture make(const test_case *c, const rt_op *op) {
  fixture f = {0};
  OK(rt_store_new(&f.store));
  OK(rt_graph_new(f.store, &f.graph));
  f.first = test_case_build(c, op, f.graph);
  OK(rt_graph_status(f.graph));
  for (int k = 0; k < f.first->node->n_out; k++) rt_mark_output(f.graph, output_name(k), rt_output(f.first, k));
  OK(rt_graph_status(f.graph));
  return f;
}

static void compile(fixture *f, rt_kernels kernels) {
  rt_plan_options options = {.kernels = kernels};
  OK(rt_plan_new(f->graph, &options, &f->plan));
}

static void run(fixture *f, const test_case *c) {
  rt_feed feeds[32];
  int n = test_case_feeds(c, feeds);
  test_case_load(c, f->store);
  OK(rt_plan_run(f->plan, feeds, n));
}

static double *fetch(const fixture *f, const char *name, int64_t *n, rt_dtype *dtype) {
  rt_result r;
  OK(rt_plan_result(f->plan, name, &r));
  *dtype = r.dtype;
  return test_values(&r, n);
}

/* ---- gradients ---- */

static bool passes_gradient(const rt_node *node, int output) {
  return rt_dtype_is_float(node->out[output]->type.dtype) && !(node->op->aux_outputs >> output & 1);
}

static double weighted_sum(fixture *f, const test_case *c) {
  double sum = 0;
  run(f, c);
  for (int k = 0; k < f->graph->n_outputs; k++) {
    int64_t n;
    rt_dtype dtype;
    if (f->graph->output[k].name[0] != 'y' || !passes_gradient(f->first->node, k)) continue;
    double *y = fetch(f, f->graph->output[k].name, &n, &dtype);
    for (int64_t i = 0; i < n; i++) sum += weight(k, i) * y[i];
    rt_free(y);
  }
  return sum;
}

/* The weighted sum as a node: reachable outputs only get a gradient. */
static rt_value *loss_of(fixture *f, const rt_node *node) {
  rt_graph *g = f->graph;
  rt_value *total = NULL;
  for (int k = 0; k < node->n_out; k++) {
    rt_value *y = node->out[k];
    if (!passes_gradient(node, k)) continue;
    int64_t n = rt_type_elements(&y->type);
    double *w = rt_alloc_array((size_t)n, sizeof *w);
    assert_non_null(w);
    for (int64_t i = 0; i < n; i++) w[i] = weight(k, i);
    rt_value *c = rt_constant(g, RT_F64, y->type.rank, y->type.dim, w);
    rt_free(w);
    rt_cast_attr to64 = {.dtype = RT_F64};
    rt_value *y64 = y->type.dtype == RT_F64 ? y : rt_emit(g, RT_OP(cast), NULL, &to64, 1, y);
    rt_value *part = rt_mul(g, y64, c);
    part = rt_apply(g, "sum", NULL, &part, 1, NULL);
    total = total ? rt_add(g, total, part) : part;
  }
  return total;
}

static void check_derivative(const rt_op *op, const char *text, int input, fixture *forward, test_case *c,
                             const double *gradient) {
  const double step = 1e-5;
  test_input *in = &c->input[input];
  rt_tensor t = rt_tensor_view(&in->type, in->data);
  int64_t n = rt_tensor_elements(&t);
  double norm = 0, distance = 0;
  for (int64_t i = 0; i < n; i++) {
    double x = rt_load(&t, i);
    rt_store_at(&t, i, x + step);
    double above = weighted_sum(forward, c);
    rt_store_at(&t, i, x - step);
    double below = weighted_sum(forward, c);
    rt_store_at(&t, i, x);
    double expected = (above - below) / (2 * step), found = gradient ? gradient[i] : 0;
    norm += expected * expected;
    distance += (expected - found) * (expected - found);
    if (!(fabs(expected - found) <= 1e-5 * (1 + fabs(expected))))
      fail_msg("%s, case \"%s\": gradient of input %d at element %lld: finite difference %.9g, found %.9g", op->name,
               text, input, (long long)i, expected, found);
  }
  if (!(sqrt(distance) <= 1e-6 * (1 + sqrt(norm))))
    fail_msg("%s, case \"%s\": gradient of input %d is %.3g off in norm %.3g", op->name, text, input, sqrt(distance),
             sqrt(norm));
}

static void check_gradient(const rt_op *op, const char *text) {
  test_case c;
  rt_value *wrt[32], *grad[32] = {0};
  int index[32], n = 0;
  test_case_parse(text, RT_F64, &c);
  fixture forward = make(&c, op), backward = make(&c, op);
  const rt_node *node = backward.first->node;
  for (int i = 0; i < c.n && i < node->n_in; i++)
    if (c.input[i].differentiated && node->in[i]) {
      index[n] = i;
      wrt[n++] = node->in[i];
    }
  if (n) {
    rt_value *loss = loss_of(&backward, node);
    OK(rt_graph_status(backward.graph));
    OK(rt_gradients(loss, wrt, n, grad));
  }
  for (int i = 0; i < n; i++) {
    char name[16];
    snprintf(name, sizeof name, "d%d", index[i]);
    if (grad[i]) rt_mark_output(backward.graph, name, grad[i]);
  }
  compile(&forward, RT_KERNELS_REFERENCE);
  compile(&backward, RT_KERNELS_REFERENCE);
  run(&backward, &c);
  for (int i = 0; i < n; i++) {
    char name[16];
    int64_t count;
    rt_dtype dtype;
    snprintf(name, sizeof name, "d%d", index[i]);
    double *gradient = grad[i] ? fetch(&backward, name, &count, &dtype) : NULL;
    check_derivative(op, text, index[i], &forward, &c, gradient);
    rt_free(gradient);
  }
  fixture_free(&forward);
  fixture_free(&backward);
  test_case_release(&c);
}

static void gradients(void **state) {
  int rows = 0, cases = 0;
  for (int i = 0; i < rt_op_count(); i++) {
    const rt_op *op = rt_op_at(i);
    assert_non_null(op->cases);
    if (!op->grad) continue;
    rows++;
    for (const char *const *text = op->cases; *text; text++, cases++) check_gradient(op, *text);
  }
  print_message("%d rows with a gradient, %d cases\n", rows, cases);
}

/* ---- kernels ---- */

static double tolerance(rt_dtype tested) { return tested == RT_BF16 ? 1.2e-2 : 2e-5; }

/* Of one node's output: distance to the reference against the size of both, so that cancelled sums aren't judged by
 * their own size. */
static void compare(const rt_op *op, const char *text, rt_dtype tested, const char *kernel, const char *output,
                    const double *expected, const double *found, int64_t n) {
  double most = 0, square = 0, off = 0;
  for (int64_t i = 0; i < n; i++) {
    square += expected[i] * expected[i];
    if (fabs(expected[i]) > most) most = fabs(expected[i]);
  }
  double scale = most > 1e-3 ? most : 1e-3;
  for (int64_t i = 0; i < n; i++) {
    double distance = fabs(expected[i] - found[i]);
    off += distance * distance;
    if (!(distance <= 2 * tolerance(tested) * scale))
      fail_msg("%s by %s, %s, case \"%s\": %s[%lld]: reference %.9g, found %.9g", op->name, kernel,
               rt_dtype_name(tested), text, output, (long long)i, expected[i], found[i]);
  }
  if (!(sqrt(off) <= tolerance(tested) * (sqrt(square) + 1e-3)))
    fail_msg("%s by %s, %s, case \"%s\": %s: relative distance %.3g", op->name, kernel, rt_dtype_name(tested), text,
             output, sqrt(off / (square + 1e-30)));
}

/* Returns whether a kernel of its own ran. */
static bool check_kernel(const rt_op *op, const char *text, rt_dtype tested, bool images, rt_kernels policy) {
  test_case c;
  test_case_parse(text, tested, &c);
  fixture reference = make(&c, op), fast = make(&c, op);
  if (images) OK(rt_pass_layout(&fast.graph));
  compile(&reference, RT_KERNELS_REFERENCE);
  compile(&fast, policy);
  run(&reference, &c);
  const char *kernel = "reference";
  run(&fast, &c);
  for (int i = 0; i < rt_plan_steps(fast.plan); i++) {
    rt_step_info step;
    OK(rt_plan_step(fast.plan, i, &step));
    if (strcmp(step.op, op->name) == 0) kernel = step.kernel;
  }
  for (int k = 0; k < reference.first->node->n_out; k++) {
    int64_t n, m;
    rt_dtype a, b;
    char name[16];
    snprintf(name, sizeof name, "y%d", k);
    double *expected = fetch(&reference, name, &n, &a), *found = fetch(&fast, name, &m, &b);
    assert_int_equal(n, m);
    assert_int_equal(a, b);
    compare(op, text, tested, kernel, name, expected, found, n);
    rt_free(expected);
    rt_free(found);
  }
  fixture_free(&reference);
  fixture_free(&fast);
  test_case_release(&c);
  if (policy == RT_KERNELS_AUTO && strstr(kernel, "winograd")) /* and the kernel that it stands before */
    check_kernel(op, text, tested, images, RT_KERNELS_DIRECT);
  return strcmp(kernel, "reference") != 0;
}

static void kernels(void **state) {
  int fast = 0, cases = 0;
  for (int i = 0; i < rt_op_count(); i++) {
    const rt_op *op = rt_op_at(i);
    for (const char *const *text = op->cases; *text; text++)
      for (int images = 0; images < 2; images++) {
        fast += check_kernel(op, *text, RT_F32, images, RT_KERNELS_AUTO);
        fast += check_kernel(op, *text, RT_BF16, images, RT_KERNELS_AUTO);
        cases += 2;
      }
  }
  print_message("%d comparisons, %d of them with a fast kernel\n", cases, fast);
}

/* ---- errors ---- */

static void errors(void **state) {
  int rows = 0;
  for (int i = 0; i < rt_op_count(); i++) {
    const rt_op *op = rt_op_at(i);
    for (const char *const *text = op->errors; text && *text; text++, rows++) {
      test_case c;
      rt_store *store;
      rt_graph *g;
      test_case_parse(*text, RT_F32, &c);
      assert_non_null(c.fragment);
      OK(rt_store_new(&store));
      OK(rt_graph_new(store, &g));
      rt_value *y = test_case_build(&c, op, g);
      if (y || rt_graph_status(g) == RT_OK) fail_msg("%s, case \"%s\": was accepted", op->name, *text);
      if (!strstr(rt_error(), c.fragment))
        fail_msg("%s, case \"%s\": the sentence is: %s", op->name, *text, rt_error());
      rt_graph_free(g);
      rt_store_free(store);
      test_case_release(&c);
    }
  }
  assert_true(rows > 0);
  print_message("%d error cases\n", rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(gradients), cmocka_unit_test(kernels), cmocka_unit_test(errors)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
