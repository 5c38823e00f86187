/* Muon (Jordan et al. 2024): the step of a weight matrix is its momentum made orthogonal.
 *   m ← β m + (1−β) g,   u = (1−β) g + β m,   w ← (1 − lr·weight_decay) w − lr·sqrt(max(1, rows/columns))·orthogonal(u)
 * A filter O×I×H×W is the matrix O×(I·H·W). With `normalize` w is instead brought to norm sqrt(O) before each step, as the
 * CIFAR speed records do. orthogonal(u) moves all singular values near 1 by `muon_steps` steps of an odd quintic polynomial:
 *   x = u/‖u‖,   x ← a x + (b G + c G²) x,   G = x xᵀ
 * written for wide matrices; for tall ones from the other side. The products are in bf16 where the network is.
 *
 * Polynomials of G commute, so for long matrices all but the first and the last product are on their short side: with R = 1,
 *   P = a + b G + c G²,   R ← P R,   G ← P P G,   and in the end x ← R x
 * These are in f32: what rounding adds to G grows twelvefold a step. */
#include "pass/train.h"

#include <math.h>
#include <stdio.h>

static const double A = 3.4445, B = -4.7750, C = 2.0315;
enum { LONG = 4, MOST_STEPS = 5 }; /* sides' ratio above which that is less work; with more steps its rounding shows */

typedef struct muon {
  rt_training *t;
  rt_value *momentum, *scale; /* of m and of g in the new m */
  rt_value *ahead, *fresh;    /* of m and of g in u */
  rt_value *keep, *rate;      /* of w and of the step in the new w */
} muon;

static rt_value *factor(const rt_training *t, rt_value *v) {
  rt_cast_attr attr = {.dtype = RT_BF16};
  return t->low ? rt_emit(t->graph, RT_OP(cast), v ? v->name : NULL, &attr, 1, v) : v;
}

static rt_value *product(rt_graph *g, const char *name, rt_value *a, bool transpose_a, rt_value *b, bool transpose_b) {
  rt_matmul_attr attr = {.transpose_a = transpose_a, .transpose_b = transpose_b, .f32 = true};
  return rt_emit(g, RT_OP(matmul), name, &attr, 2, a, b);
}

static rt_value *reshape(rt_graph *g, const char *name, rt_value *v, int rank, const rt_dim *dim) {
  rt_reshape_attr attr = {.shape.n = rank};
  for (int i = 0; i < rank; i++) attr.shape.v[i] = dim[i];
  return rt_emit(g, RT_OP(reshape), name, &attr, 1, v);
}

/* The n×n identity, one in a graph: the first n² of the numbers 1 0 … 0 (n of them), n times over. */
static rt_value *identity(rt_graph *g, rt_dim n) {
  char name[48];
  snprintf(name, sizeof name, "muon.identity.%lld", (long long)n);
  rt_value *v = rt_find(g, name);
  if (v) return v;
  rt_reshape_attr column = {.shape = {.n = 2, .v = {n, 1}}};
  rt_pad_attr zeros = {.pads = {.n = 4, .v = {0, 0, 0, n}}};
  rt_slice_attr head = {.end = n * n, .step = 1};
  v = rt_emit(g, RT_OP(expand), NULL, &column, 1, rt_scalar(g, 1));
  v = reshape(g, NULL, rt_emit(g, RT_OP(pad), NULL, &zeros, 1, v), 1, (rt_dim[]){n * (n + 1)});
  return reshape(g, name, rt_emit(g, RT_OP(slice), NULL, &head, 1, v), 2, (rt_dim[]){n, n});
}

/* gain · p(…p(x)): each step with x. */
static rt_value *by_steps(const rt_training *t, const char *name, rt_value *x, bool tall, double gain) {
  rt_graph *g = t->graph;
  rt_value *one = rt_scalar(g, 1);
  for (int64_t i = 0; i < t->options->muon_steps; i++) {
    double last = i == t->options->muon_steps - 1 ? gain : 1;
    rt_value *low = factor(t, x), *gram = product(g, name, low, tall, low, !tall), *low_gram = factor(t, gram);
    rt_value *square = product(g, name, low_gram, false, low_gram, false);
    rt_value *poly = factor(t, rt_train_blend(g, name, rt_scalar(g, B * last), gram, rt_scalar(g, C * last), square));
    rt_value *bent = tall ? product(g, name, low, false, poly, false) : product(g, name, poly, false, low, false);
    x = rt_train_blend(g, name, rt_scalar(g, A * last), x, one, bent);
  }
  return x;
}

/* The same with G alone. */
static rt_value *by_gram(const rt_training *t, const char *name, rt_value *x, rt_dim side, bool tall, double gain) {
  rt_graph *g = t->graph;
  rt_value *low = factor(t, x), *gram = product(g, name, low, tall, low, !tall), *all = NULL, *one = rt_scalar(g, 1);
  rt_value *eye = identity(g, side);
  for (int64_t i = 0; i < t->options->muon_steps; i++) {
    bool is_last = i == t->options->muon_steps - 1;
    double last = is_last ? gain : 1;
    rt_value *square = product(g, name, gram, false, gram, false);
    rt_value *bent = rt_train_blend(g, name, rt_scalar(g, B * last), gram, rt_scalar(g, C * last), square);
    rt_value *poly = rt_train_blend(g, name, one, bent, rt_scalar(g, A * last), eye);
    all = all ? product(g, name, poly, false, all, false) : poly;
    if (!is_last) gram = product(g, name, poly, false, product(g, name, poly, false, gram, false), false);
  }
  all = factor(t, all);
  return tall ? product(g, name, low, false, all, false) : product(g, name, all, false, low, false);
}

/* sqrt(max(1, rows/columns)) · orthogonal(u), u rows×columns */
static rt_value *orthogonal(const rt_training *t, const char *name, rt_value *u, rt_dim rows, rt_dim columns) {
  rt_graph *g = t->graph;
  double gain = sqrt(fmax(1, (double)rows / (double)columns));
  rt_value *norm = rt_emit(g, RT_OP(global_norm), name, NULL, 1, u), *one = rt_scalar(g, 1);
  rt_value *x = rt_mul(g, u, rt_div(g, one, rt_add(g, norm, rt_scalar(g, 1e-7))));
  bool tall = rows > columns;
  rt_dim side = tall ? columns : rows;
  if (rows + columns > (LONG + 1) * side && t->options->muon_steps <= MOST_STEPS)
    return by_gram(t, name, x, side, tall, gain);
  return by_steps(t, name, x, tall, gain);
}

/* Factor that brings w to norm sqrt(rows), 1 for a step that isn't applied. */
static rt_value *to_norm(const rt_training *t, const char *name, rt_value *w, double rows) {
  rt_graph *g = t->graph;
  rt_value *norm = rt_emit(g, RT_OP(global_norm), name, NULL, 1, w), *one = rt_scalar(g, 1);
  rt_value *ratio = rt_div(g, rt_scalar(g, sqrt(rows)), rt_add(g, norm, rt_scalar(g, 1e-7)));
  return rt_add(g, one, rt_mul(g, t->applied, rt_sub(g, ratio, one)));
}

static void update(const muon *m, rt_trained *p) {
  rt_training *t = m->t;
  rt_graph *g = t->graph;
  rt_value *w = p->parameter, *old = rt_train_state(g, w, "momentum");
  const char *name = w->name;
  rt_dim rows = w->type.dim[0], columns = rt_type_elements(&w->type) / rows;
  rt_value *now = rt_train_blend(g, name, m->momentum, old, m->scale, p->gradient);
  rt_value *u = rt_train_blend(g, name, m->ahead, now, m->fresh, p->gradient);
  rt_train_assign(g, old, now);
  u = orthogonal(t, name, reshape(g, name, u, 2, (rt_dim[]){rows, columns}), rows, columns);
  u = reshape(g, name, u, w->type.rank, w->type.dim);
  rt_value *keep = t->options->normalize ? to_norm(t, name, w, (double)rows) : m->keep;
  p->now = rt_train_blend(g, name, keep, w, m->rate, u);
  rt_train_assign(g, w, p->now);
}

void rt_update_muon(rt_training *t, rt_value *lr) {
  rt_graph *g = t->graph;
  rt_value *one = rt_scalar(g, 1), *momentum = rt_scalar_input(g, "muon_momentum", t->options->muon_momentum);
  rt_value *decay = rt_scalar_input(g, "weight_decay", t->options->weight_decay), *rate = rt_mul(g, lr, t->applied);
  rt_value *share = rt_sub(g, one, momentum); /* of g */
  muon m = {.t = t,
            .momentum = rt_sub(g, one, rt_mul(g, share, t->applied)),
            .scale = rt_mul(g, share, t->scale),
            .ahead = momentum,
            .fresh = rt_mul(g, share, t->scale),
            .keep = rt_sub(g, one, rt_mul(g, rate, decay)),
            .rate = rt_mul(g, rate, rt_scalar(g, -1))};
  for (int i = 0; i < t->n; i++)
    if (t->parameter[i].by_matrix) update(&m, &t->parameter[i]);
}
