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

/* 1/d beside every d, 0 for 0, so that a corner with a side of length 0 has the cosine 0. */
typedef struct sides {
  double *d, *inverse; /* n×n */
} sides;

typedef struct triples {
  int64_t n;
  double scale;
  sides x, target;
  double *to; /* n: sums by corner, or n×n: the gradient */
} triples;

/* a and b number the sides at the corner, c the one across. */
static double cosine(const sides *s, int64_t a, int64_t b, int64_t c) {
  const double *d = s->d;
  return 0.5 * (d[a] * d[a] + d[b] * d[b] - d[c] * d[c]) * s->inverse[a] * s->inverse[b];
}

static double huber(double v) {
  double a = fabs(v);
  return a < 1 ? a * a / 2 : a - 0.5;
}

static double slope(double v) { return v > 1 ? 1 : v < -1 ? -1 : v; } /* NaN stays */

static void add_up(void *context, int64_t begin, int64_t end) {
  const triples *t = context;
  for (int64_t i = begin, n = t->n; i < end; i++)
    for (int64_t j = 0; j < n; j++)
      for (int64_t k = 0; k < n; k++) {
        int64_t a = i * n + j, b = i * n + k, c = j * n + k;
        t->to[i] += huber(cosine(&t->x, a, b, c) - cosine(&t->target, a, b, c));
      }
}

/* A corner's part in the gradient of its first side; with a and b exchanged, of its second. */
static double by_side(const triples *t, int64_t a, int64_t b, int64_t c) {
  double cos = cosine(&t->x, a, b, c), v = slope(cos - cosine(&t->target, a, b, c));
  return v * (t->x.inverse[b] - cos * t->x.inverse[a]);
}

static double by_across(const triples *t, int64_t a, int64_t b, int64_t c) {
  double v = slope(cosine(&t->x, a, b, c) - cosine(&t->target, a, b, c));
  return -v * t->x.d[c] * t->x.inverse[a] * t->x.inverse[b];
}

/* d[p, q] is the first side of the corner p with any k, its second side, and the one across from any corner k. */
static void gather_slopes(void *context, int64_t begin, int64_t end) {
  const triples *t = context;
  int64_t n = t->n;
  for (int64_t p = begin; p < end; p++)
    for (int64_t q = 0; q < n; q++) {
      int64_t side = p * n + q;
      double sum = 0;
      for (int64_t k = 0; t->x.d[side] > 0 && k < n; k++)
        sum += by_side(t, side, p * n + k, q * n + k) + by_side(t, side, p * n + k, k * n + q) +
               by_across(t, k * n + p, k * n + q, side);
      t->to[side] = t->scale * sum;
    }
}

static sides measure(const rt_tensor *d) {
  sides s = {rt_dense(d), rt_dense_zero(d)};
  for (int64_t i = 0; s.d && s.inverse && i < rt_tensor_elements(d); i++) s.inverse[i] = s.d[i] > 0 ? 1 / s.d[i] : 0;
  return s;
}

static void release(sides *s) {
  rt_free(s->d);
  rt_free(s->inverse);
}

static rt_status run(const rt_call *c, int first, rt_body *body, const rt_tensor *like, double **to) {
  triples t = {.n = c->in[first]->dim[0], .scale = first ? rt_load(c->in[0], 0) : 1};
  t.x = measure(c->in[first]);
  t.target = measure(c->in[first + 1]);
  t.to = *to = rt_dense_zero(like);
  bool ready = t.x.d && t.x.inverse && t.target.d && t.target.inverse && t.to;
  if (ready) rt_parallel_for(t.n, 1, body, &t);
  release(&t.x);
  release(&t.target);
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
static double flops_backward(const rt_type *const *in, const rt_type *out, const void *attr) { return cube(in[1], 60); }

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
