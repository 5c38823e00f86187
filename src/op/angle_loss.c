/* Angles between all triples of points, told by their distances d, N×N (Park et al. 2019): at corner i between j and k,
 *   cos[i, j, k] = (d_ij² + d_ik² − d_jk²)/(2·d_ij·d_ik), 0 where d_ij or d_ik is 0
 *   sum = Σ_ijk h(cos of d − cos of target), h(v) = v²/2 where |v| < 1, |v| − ½ elsewhere;  count = N³
 * By the law of cosines neither N³ angles nor N² differences of points are kept: memory is N², time N³. */
#include "base/alloc.h"
#include "base/thread.h"
#include "op/layer.h"

static rt_status check(const rt_infer *c, int d) {
  const rt_type *t = c->in[d];
  rt_status s;
  if ((s = rt_infer_float(c, d)) || (s = rt_infer_rank(c, d, 2, 2)) || (s = rt_infer_same(c, d, 0, d, 1)) ||
      (s = rt_infer_same_dtype(c, d, d + 1)))
    return s;
  rt_dim square[] = {t->dim[0], t->dim[0]};
  return rt_infer_shape(c, d + 1, 2, square);
}

static rt_status infer(rt_infer *c) {
  c->out[0] = c->out[1] = rt_type_of(rt_wide(c->in[0]->dtype), 0, NULL);
  return check(c, 0);
}

static rt_status infer_backward(rt_infer *c) { /* dsum d target */
  c->out[0] = *c->in[1];
  rt_status s = rt_infer_scalar(c, 0);
  return s == RT_OK ? check(c, 1) : s;
}

/* Only d: whoever needs the target's gradient swaps them, h being even. */
static void grad(rt_grad *c) {
  rt_value *const *in = c->node->in;
  if (c->want[0] && c->dy[0])
    c->dx[0] = rt_emit(c->graph, RT_OP(angle_loss_backward), NULL, NULL, 3, c->dy[0], in[0], in[1]);
}

typedef struct triples {
  int64_t n;
  double scale;
  const double *d, *target; /* n×n */
  double *to;               /* n: sums by corner, or n×n: the gradient */
} triples;

/* a and b are the sides at the corner, c the one across. */
static double cosine(double a, double b, double c) {
  return a > 0 && b > 0 ? (a * a + b * b - c * c) / (2 * a * b) : 0;
}

static double difference(const triples *t, int64_t i, int64_t j, int64_t k) {
  int64_t n = t->n, a = i * n + j, b = i * n + k, c = j * n + k;
  return cosine(t->d[a], t->d[b], t->d[c]) - cosine(t->target[a], t->target[b], t->target[c]);
}

static void add_up(void *context, int64_t begin, int64_t end) {
  const triples *t = context;
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < t->n; j++)
      for (int64_t k = 0; k < t->n; k++) {
        double v = fabs(difference(t, i, j, k));
        t->to[i] += v < 1 ? v * v / 2 : v - 0.5;
      }
}

static double slope(double v) { return v > 1 ? 1 : v < -1 ? -1 : v; } /* NaN stays */

/* cos by its first side; with the sides exchanged, by its second. */
static double by_side(double a, double b, double c) {
  return a > 0 && b > 0 ? 1 / b - cosine(a, b, c) / a : 0;
}

static double by_across(double a, double b, double c) { return a > 0 && b > 0 ? -c / (a * b) : 0; }

/* d[p, q] is the first side of the corner p with any k, its second side, and the one across from any corner i. */
static void gather_slopes(void *context, int64_t begin, int64_t end) {
  const triples *t = context;
  const double *d = t->d;
  int64_t n = t->n;
  for (int64_t p = begin; p < end; p++)
    for (int64_t q = 0; q < n; q++) {
      double side = d[p * n + q], sum = 0;
      for (int64_t k = 0; k < n; k++) {
        double other = d[p * n + k];
        sum += slope(difference(t, p, q, k)) * by_side(side, other, d[q * n + k]);
        sum += slope(difference(t, p, k, q)) * by_side(side, other, d[k * n + q]);
        sum += slope(difference(t, k, p, q)) * by_across(d[k * n + p], d[k * n + q], side);
      }
      t->to[p * n + q] = t->scale * sum;
    }
}

static rt_status run(const rt_call *c, int first, rt_body *body, const rt_tensor *like, double **to) {
  double *d = rt_dense(c->in[first]), *target = rt_dense(c->in[first + 1]);
  *to = rt_dense_zero(like);
  bool ready = d && target && *to;
  if (ready) {
    triples t = {.n = c->in[first]->dim[0], .scale = first ? rt_load(c->in[0], 0) : 1, d, target, *to};
    rt_parallel_for(t.n, 1, body, &t);
  }
  rt_free(d);
  rt_free(target);
  return ready ? RT_OK : RT_E_MEMORY;
}

static rt_status reference(const rt_call *c) {
  double *by_corner, sum = 0, n = (double)c->in[0]->dim[0];
  rt_tensor corners = rt_view_slice(c->in[0], 1, 0, 1, 1);
  rt_status s = run(c, 0, add_up, &corners, &by_corner);
  for (int64_t i = 0; s == RT_OK && i < corners.dim[0]; i++) sum += by_corner[i];
  rt_store_at(&c->out[0], 0, sum);
  rt_store_at(&c->out[1], 0, n * n * n);
  rt_free(by_corner);
  return s;
}

static rt_status reference_backward(const rt_call *c) {
  double *gradient;
  rt_status s = run(c, 1, gather_slopes, c->out, &gradient);
  if (s == RT_OK) rt_dense_store(c->out, gradient);
  rt_free(gradient);
  return s;
}

static double cube(const rt_type *t, double each) { return each * (double)rt_type_elements(t) * (double)t->dim[0]; }
static double flops(const rt_type *const *in, const rt_type *out, const void *attr) { return cube(in[0], 15); }
static double flops_backward(const rt_type *const *in, const rt_type *out, const void *attr) {
  return cube(in[1], 60);
}

static const char *const cases[] = {"x[5,5]+ x[5,5]+!", "x[1,1]+ x[1,1]+!", "x[7,7]+ x[7,7]=0!", "x[3,3]~+ x[3,3]+!",
                                    NULL};
static const char *const errors[] = {"x[5,4] x[5,5] ; => dimension 1 of distance is expected 5",
                                     "x[5,5] x[4,4] ; => target must be", NULL};
static const char *const cases_backward[] = {"f[] x[5,5]+ x[5,5]+", "f[] x[7,7]+ x[7,7]=0", "f[] x[3,3]=0 x[3,3]+",
                                             NULL};
static const char *const errors_backward[] = {"f[1] x[5,5] x[5,5] ; => dsum must be a floating scalar", NULL};

const rt_op rt_op_row_angle_loss = {
    .name = "angle_loss",
    .summary = "Huber sum of the differences between the cosines of all triples of points with these distances, N×N",
    .input_names = "distance target",
    .n_out = 2,
    .aux_outputs = 1u << 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .precision = RT_PRECISION_F32,
    .flops = flops,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_angle_loss_backward = {
    .name = "angle_loss_backward",
    .summary = "gradient of angle_loss's distance from that of its sum",
    .input_names = "dsum distance target",
    .n_out = 1,
    .f32_inputs = 1u << 0,
    .infer = infer_backward,
    .reference = reference_backward,
    .precision = RT_PRECISION_F32,
    .flops = flops_backward,
    .cases = cases_backward,
    .errors = errors_backward,
};
