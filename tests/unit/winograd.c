/* How far Winograd convolutions are from the exact result, beside direct kernels, on data that is meant to hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "op/op.h"

#include <math.h>
#include <stdio.h>

#define OK(call) \
  do { \
    rt_status ok_ = (call); \
    if (ok_ != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

enum { N = 16, I = 40, O = 72, H = 13, W = 10 };
static int stride = 1, rows = H, columns = W; /* of the result */

typedef enum kind { NORMAL, LARGE_MEAN, HOT_CHANNEL, KINDS } kind;
static const char *const kind_name[] = {"normal", "large mean", "one hot channel"};

static double x[N * I * H * W], w[O * I * 9], dy[N * O * H * W];
static double y_exact[N * O * H * W], dx_exact[N * I * H * W], dw_exact[O * I * 9];

static uint64_t state = 88172645463325252u;
static double normal(void) { /* sum of uniforms */
  double sum = -6;
  for (int i = 0; i < 12; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    sum += (double)(state >> 11) * 0x1p-53;
  }
  return sum;
}

static void draw(kind k) {
  for (int i = 0; i < N * I * H * W; i++) {
    x[i] = normal();
    if (k == LARGE_MEAN) x[i] += 10;
    if (k == HOT_CHANNEL && i / (H * W) % I == 5) x[i] *= 100;
  }
  for (int i = 0; i < O * I * 9; i++) w[i] = normal() * sqrt(2.0 / (9 * I));
  for (int i = 0; i < N * O * H * W; i++) {
    dy[i] = normal();
    if (k == LARGE_MEAN) dy[i] += 10;
    if (k == HOT_CHANNEL && i / (H * W) % O == 7) dy[i] *= 100;
  }
}

static void exact(void) {
  memset(y_exact, 0, sizeof y_exact);
  memset(dx_exact, 0, sizeof dx_exact);
  memset(dw_exact, 0, sizeof dw_exact);
  for (int n = 0; n < N; n++)
    for (int o = 0; o < O; o++)
      for (int c = 0; c < I; c++)
        for (int p = 0; p < rows; p++)
          for (int q = 0; q < columns; q++)
            for (int tap = 0; tap < 9; tap++) {
              int h = p * stride + tap / 3 - 1, v = q * stride + tap % 3 - 1;
              if (h < 0 || h >= H || v < 0 || v >= W) continue;
              int at_x = ((n * I + c) * H + h) * W + v, at_y = ((n * O + o) * rows + p) * columns + q,
                  at_w = (o * I + c) * 9 + tap;
              y_exact[at_y] += x[at_x] * w[at_w];
              dx_exact[at_x] += dy[at_y] * w[at_w];
              dw_exact[at_w] += dy[at_y] * x[at_x];
            }
}

static const int64_t x_dim[] = {N, I, H, W}, w_dim[] = {O, I, 3, 3};

static rt_value *fed(rt_graph *g, rt_feed *feed, const char *name, rt_dtype dtype, const int64_t *dim,
                     const double *v) {
  rt_type t = rt_type_of(dtype, 4, dim);
  int64_t n = rt_type_elements(&t);
  rt_tensor view = rt_tensor_view(&t, rt_alloc((size_t)rt_type_bytes(&t)));
  assert_non_null(view.data);
  for (int64_t i = 0; i < n; i++) rt_store_at(&view, i, v[i]);
  *feed = (rt_feed){name, 4, dim, view.data};
  return rt_input(g, name, dtype, 4, dim);
}

/* Relative L2 distance of one op to the exact result, by the kernels of a policy; says which kernel ran. */
static double distance(const char *op, rt_dtype dtype, rt_kernels policy, char kernel[64]) {
  rt_store *store;
  rt_graph *g;
  rt_plan *plan;
  rt_feed feeds[3];
  const int64_t y_dim[] = {N, O, rows, columns};
  char options[32];
  snprintf(options, sizeof options, "padding=1 stride=%d", stride);
  bool forward = strcmp(op, "conv2d") == 0, weight = strcmp(op, "conv2d_backward_weight") == 0;
  const double *want = forward ? y_exact : weight ? dw_exact : dx_exact;
  OK(rt_store_new(&store));
  OK(rt_graph_new(store, &g));
  rt_value *vx = fed(g, &feeds[0], "x", dtype, x_dim, x), *vw = fed(g, &feeds[1], "w", dtype, w_dim, w),
           *vdy = fed(g, &feeds[2], "dy", dtype, y_dim, dy);
  rt_value *in[3] = {forward ? vx : vdy, weight ? vx : vw, weight ? vw : vx};
  rt_mark_output(g, "out", rt_apply(g, op, "layer", in, forward ? 2 : 3, options));
  OK(rt_graph_status(g));
  OK(rt_pass_layout(&g));
  OK(rt_plan_new(g, &(rt_plan_options){.kernels = policy}, &plan));
  rt_feed live[3];
  int n = 0;
  for (int i = 0; i < 3; i++)
    if (rt_find(g, feeds[i].name)) live[n++] = feeds[i];
  OK(rt_plan_run(plan, live, n));
  for (int i = 0; i < rt_plan_steps(plan); i++) {
    rt_step_info step;
    OK(rt_plan_step(plan, i, &step));
    if (strcmp(step.op, op) == 0) snprintf(kernel, 64, "%s", step.kernel);
  }
  rt_result r;
  OK(rt_plan_result(plan, "out", &r));
  rt_type t = rt_type_of(r.dtype, r.rank, r.dim);
  rt_tensor view = rt_tensor_view(&t, (void *)(uintptr_t)r.data);
  double off = 0, size = 0;
  for (int64_t i = 0; i < rt_type_elements(&t); i++) {
    double d = rt_load(&view, i) - want[i];
    off += d * d;
    size += want[i] * want[i];
  }
  for (int i = 0; i < 3; i++) rt_free((void *)(uintptr_t)feeds[i].data);
  rt_plan_free(plan);
  rt_graph_free(g);
  rt_store_free(store);
  return sqrt(off / size);
}

/* Against the result of unrounded data, so that what bf16 costs a direct kernel counts: its operands are rounded once, a
 * Winograd kernel's again after their transform. */
static int compare(void) {
  const double few = 3e-7; /* roundings of f32; the reference sums in double */
  static const char *const ops[] = {"conv2d", "conv2d_backward_data", "conv2d_backward_weight"};
  int compared = 0;
  for (kind k = NORMAL; k < KINDS; k++) {
    draw(k);
    exact();
    for (int i = 0; i < 3; i++)
      for (rt_dtype dtype = RT_F32; dtype <= RT_BF16; dtype++) {
        char fast[64] = "", direct[64] = "";
        double a = distance(ops[i], dtype, RT_KERNELS_AUTO, fast),
               b = distance(ops[i], dtype, RT_KERNELS_DIRECT, direct);
        if (strstr(direct, "winograd")) fail_msg("direct kernels were asked for, %s ran", direct);
        if (!strstr(fast, "winograd")) continue;
        compared++;
        print_message("%-4s %-15s %-20s %.2e, %s %.2e: %.2f times\n", rt_dtype_name(dtype), kind_name[k], fast, a,
                      direct, b, a / b);
        double bound = dtype == RT_BF16 ? 3 * b : 4 * (b > few ? b : few);
        if (!(a <= bound)) fail_msg("%s, %s: %.3g is above %.3g", fast, kind_name[k], a, bound);
      }
  }
  return compared;
}

static void error(void **unused) {
  (void)unused;
  if (!compare()) skip();
}

static void error_of_stride_2(void **unused) {
  (void)unused;
  stride = 2;
  rows = (H + 1) / 2;
  columns = (W + 1) / 2;
  if (!compare()) skip();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(error), cmocka_unit_test(error_of_stride_2)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
