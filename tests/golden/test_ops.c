/* Every forward op against PyTorch: values and gradients of ops.json (make_ops.py says what is in it), through the
 * public builder, in f64 with the reference kernels and in f32 with whatever kernels the machine gets. */
#include "json_file.h"
#include "op/op.h"
#include "tensor/tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

enum { MOST = 32 };

typedef struct mode {
  const char *name;
  rt_dtype dtype;
  rt_kernels kernels;
  bool layout; /* run the layout pass: images go channels last */
  double relative, absolute;
} mode;

static const mode modes[] = {
    {"f64 reference", RT_F64, RT_KERNELS_REFERENCE, false, 1e-10, 1e-10},
    {"f32", RT_F32, RT_KERNELS_AUTO, false, 1e-4, 1e-5},
    {"f32 layout", RT_F32, RT_KERNELS_AUTO, true, 1e-4, 1e-5},
};

/* One case in one precision. */
typedef struct run {
  const cJSON *json;
  const mode *mode;
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
  rt_feed feed[2 * MOST];
  char name[2 * MOST][24];
  int64_t dim[2 * MOST][RT_MAX_RANK];
  void *data[2 * MOST];
  int n_feeds;
} run;

static const cJSON *cases;

static const cJSON *get(const cJSON *object, const char *name) {
  return cJSON_GetObjectItemCaseSensitive(object, name);
}

static rt_dtype dtype_of(const cJSON *input, const mode *m) {
  static const rt_dtype dtypes[] = {RT_S64, RT_S32, RT_S8, RT_U8, RT_BOOL, RT_F32};
  const char *name = get(input, "dtype")->valuestring;
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
    if (strcmp(name, rt_dtype_name(dtypes[i])) == 0) return dtypes[i];
  return m->dtype;
}

/* An input of ops.json as a value of the graph, fed or stored. */
static rt_value *add_input(run *r, const cJSON *input, const char *name) {
  int slot = r->n_feeds++;
  const cJSON *shape = get(input, "shape"), *values = get(input, "values"), *item;
  int rank = 0;
  cJSON_ArrayForEach(item, shape) r->dim[slot][rank++] = (int64_t)item->valuedouble;
  rt_type type = rt_type_of(dtype_of(input, r->mode), rank, r->dim[slot]);
  size_t bytes = (size_t)rt_type_bytes(&type);
  r->data[slot] = calloc(1, bytes + 1);
  rt_tensor t = rt_tensor_view(&type, r->data[slot]);
  int64_t i = 0;
  cJSON_ArrayForEach(item, values) rt_store_at(&t, i++, item->valuedouble);
  if (cJSON_IsTrue(get(input, "variable"))) {
    r->n_feeds--; /* the slot is reused: the store has copied the data */
    rt_value *v = rt_statistic(r->graph, name, type.dtype, rank, r->dim[slot], (rt_init){.kind = RT_INIT_ZERO});
    if (v) rt_store_set(r->store, name, r->data[slot], bytes);
    free(r->data[slot]);
    return v;
  }
  rt_value *v = rt_input(r->graph, name, type.dtype, rank, r->dim[slot]);
  snprintf(r->name[slot], sizeof r->name[slot], "%s", name);
  r->feed[slot] = (rt_feed){r->name[slot], rank, r->dim[slot], r->data[slot]};
  return v;
}

/* Σ_o Σ_k cos(0.37 k + 0.11 o) y_k over the outputs that the case names; NULL when it names none. */
static rt_value *add_loss(run *r, rt_value *first) {
  rt_value *loss = NULL;
  const cJSON *item;
  cJSON_ArrayForEach(item, get(r->json, "loss")) {
    rt_value *y = rt_output(first, item->valueint);
    if (!y) return NULL;
    int64_t n = rt_type_elements(&y->type);
    rt_type type = rt_type_of(y->type.dtype, y->type.rank, y->type.dim);
    void *c = calloc((size_t)n, sizeof(double));
    rt_tensor t = rt_tensor_view(&type, c);
    for (int64_t k = 0; k < n; k++) rt_store_at(&t, k, cos(0.37 * (double)k + 0.11 * item->valueint));
    rt_value *weighted = rt_mul(r->graph, y, rt_constant(r->graph, type.dtype, type.rank, type.dim, c));
    if (weighted && type.dtype != r->mode->dtype) { /* a cast's output: its loss goes on in the mode's precision */
      char to[32];
      snprintf(to, sizeof to, "dtype=%s", rt_dtype_name(r->mode->dtype));
      weighted = rt_apply(r->graph, "cast", NULL, &weighted, 1, to);
    }
    rt_value *sum = rt_apply(r->graph, "sum", NULL, &weighted, 1, NULL);
    free(c);
    loss = loss ? rt_add(r->graph, loss, sum) : sum;
  }
  return loss;
}

static void describe(const run *r, const char *what) {
  const cJSON *shape = get(cJSON_GetArrayItem(get(r->json, "inputs"), 0), "shape");
  char *text = cJSON_PrintUnformatted(shape);
  print_error("%s: %s \"%s\" %s: %s\n", r->mode->name, get(r->json, "op")->valuestring,
              get(r->json, "options")->valuestring, text, what);
  free(text);
}

static bool compare(const run *r, const char *name, const cJSON *values) {
  rt_result result;
  char message[256];
  if (rt_plan_result(r->plan, name, &result) != RT_OK) {
    describe(r, rt_error());
    return false;
  }
  rt_type type = rt_type_of(result.dtype, result.rank, result.dim);
  rt_tensor t = rt_tensor_view(&type, (void *)(uintptr_t)result.data);
  int64_t n = rt_type_elements(&type), i = 0;
  if (n != cJSON_GetArraySize(values)) {
    snprintf(message, sizeof message, "%s has %lld elements, expected %d", name, (long long)n,
             cJSON_GetArraySize(values));
    describe(r, message);
    return false;
  }
  double largest = 1; /* sums that cancel are as good as the largest of their kind */
  const cJSON *item;
  cJSON_ArrayForEach(item, values) largest = fmax(largest, fabs(item->valuedouble));
  cJSON_ArrayForEach(item, values) {
    double got = rt_load(&t, i), want = item->valuedouble;
    if (!(fabs(got - want) <= r->mode->relative * fabs(want) + r->mode->absolute * largest)) {
      snprintf(message, sizeof message, "%s[%lld] is %.12g, PyTorch has %.12g", name, (long long)i, got, want);
      describe(r, message);
      return false;
    }
    i++;
  }
  return true;
}

static bool compare_shape(const run *r, rt_value *v, const cJSON *shape, int o) {
  bool same = v && v->type.rank == cJSON_GetArraySize(shape);
  for (int i = 0; same && i < v->type.rank; i++)
    same = (double)v->type.dim[i] == cJSON_GetArrayItem(shape, i)->valuedouble;
  char message[64];
  snprintf(message, sizeof message, "output %d has another shape", o);
  if (!same) describe(r, message);
  return same;
}

/* Later steps of an optimizer: outputs become inputs, other inputs are new. Returns the last step's first output. */
static rt_value *add_steps(run *r, rt_value **in, int n_in, rt_value *y) {
  char name[64];
  int k = 1;
  const cJSON *step, *item;
  cJSON_ArrayForEach(step, get(r->json, "steps")) {
    int o = 0;
    cJSON_ArrayForEach(item, get(r->json, "feedback")) in[item->valueint] = rt_output(y, o++);
    cJSON_ArrayForEach(item, step) {
      snprintf(name, sizeof name, "x%s.%d", item->string, k);
      in[(int)strtol(item->string, NULL, 10)] = add_input(r, item, name);
    }
    k++;
    y = rt_apply(r->graph, get(r->json, "op")->valuestring, NULL, in, n_in, get(r->json, "options")->valuestring);
    if (!y) return NULL;
  }
  return y;
}

static bool check(run *r) {
  const cJSON *inputs = get(r->json, "inputs"), *grads = get(r->json, "grads"), *item;
  rt_value *in[MOST] = {0}, *wrt[MOST], *grad[MOST] = {0};
  int n_in = 0, n_wrt = 0, wrt_input[MOST];
  char name[64];
  if (rt_store_new(&r->store) != RT_OK || rt_graph_new(r->store, &r->graph) != RT_OK) return false;
  cJSON_ArrayForEach(item, inputs) {
    snprintf(name, sizeof name, "x%d", n_in);
    in[n_in] = cJSON_IsNull(item) ? NULL : add_input(r, item, name);
    if (!cJSON_IsNull(cJSON_GetArrayItem(grads, n_in))) {
      wrt_input[n_wrt] = n_in;
      wrt[n_wrt++] = in[n_in];
    }
    n_in++;
  }
  rt_value *y =
      rt_apply(r->graph, get(r->json, "op")->valuestring, "op", in, n_in, get(r->json, "options")->valuestring);
  if (y) y = add_steps(r, in, n_in, y);
  bool good = y != NULL;
  int o = 0;
  if (good) cJSON_ArrayForEach(item, get(r->json, "outputs")) {
      snprintf(name, sizeof name, "y%d", o);
      if (!cJSON_IsNull(item)) {
        good = compare_shape(r, rt_output(y, o), get(item, "shape"), o) && good;
        rt_mark_output(r->graph, name, rt_output(y, o));
      }
      o++;
    }
  rt_value *loss = n_wrt ? add_loss(r, y) : NULL;
  rt_status s = rt_graph_status(r->graph);
  if (s == RT_OK && loss) s = rt_gradients(loss, wrt, n_wrt, grad);
  for (int i = 0; s == RT_OK && i < n_wrt; i++) {
    bool expected = cJSON_IsArray(cJSON_GetArrayItem(grads, wrt_input[i]));
    if ((grad[i] != NULL) != expected) {
      snprintf(name, sizeof name, "input %d: %s", wrt_input[i],
               expected ? "no gradient" : "a gradient where PyTorch has none");
      describe(r, name);
      good = false;
    }
    snprintf(name, sizeof name, "gradient%d", wrt_input[i]);
    if (grad[i]) rt_mark_output(r->graph, name, grad[i]);
  }
  if (s == RT_OK) s = rt_graph_status(r->graph);
  if (s == RT_OK && r->mode->layout) s = rt_pass_layout(&r->graph);
  if (s == RT_OK) s = rt_plan_new(r->graph, &(rt_plan_options){.kernels = r->mode->kernels}, &r->plan);
  if (s == RT_OK) s = rt_plan_run(r->plan, r->feed, r->n_feeds);
  if (s != RT_OK) {
    describe(r, rt_error());
    return false;
  }
  o = 0;
  cJSON_ArrayForEach(item, get(r->json, "outputs")) {
    snprintf(name, sizeof name, "y%d", o++);
    if (!cJSON_IsNull(item)) good = compare(r, name, get(item, "values")) && good;
  }
  for (int i = 0; i < n_wrt; i++) {
    snprintf(name, sizeof name, "gradient%d", wrt_input[i]);
    if (grad[i]) good = compare(r, name, cJSON_GetArrayItem(grads, wrt_input[i])) && good;
  }
  return good;
}

static void test_mode(void **state) {
  const mode *m = *state;
  int n = 0, failed = 0;
  const cJSON *json;
  cJSON_ArrayForEach(json, cases) {
    run *r = calloc(1, sizeof *r);
    *r = (run){.json = json, .mode = m};
    failed += !check(r);
    n++;
    rt_plan_free(r->plan);
    rt_graph_free(r->graph);
    rt_store_free(r->store);
    for (int i = 0; i < r->n_feeds; i++) free(r->data[i]);
    free(r);
  }
  print_message("%s: %d of %d cases agree\n", m->name, n - failed, n);
  assert_int_equal(failed, 0);
}

/* What is not a part of a gradient has a case, without anyone naming it here. */
static void test_every_op_has_a_case(void **state) {
  (void)state;
  int missing = 0;
  for (int i = 0; i < rt_op_count(); i++) {
    const char *name = rt_op_name(i);
    bool found = strstr(name, "_backward") != NULL;
    const cJSON *json;
    cJSON_ArrayForEach(json, cases) found = found || strcmp(get(json, "op")->valuestring, name) == 0;
    if (!found) print_error("%s has no case in ops.json: add one to make_ops.py\n", name);
    missing += !found;
  }
  assert_int_equal(missing, 0);
}

int main(void) {
  cJSON *json = json_file("tests/golden/ops.json");
  if (!json) return 1;
  cases = get(json, "cases");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_op_has_a_case),
      cmocka_unit_test_prestate(test_mode, (void *)(uintptr_t)&modes[0]),
      cmocka_unit_test_prestate(test_mode, (void *)(uintptr_t)&modes[1]),
      cmocka_unit_test_prestate(test_mode, (void *)(uintptr_t)&modes[2]),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  cJSON_Delete(json);
  return failed;
}
