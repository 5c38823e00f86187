/* cross_entropy: sum = −Σ_{n,c} t[n,c]·ln p[n,c], p = softmax of logits N×C, and the count that makes it a mean.
 *   probabilities q, N×C:     t[n,c] = w[c]·((1−ε)·q[n,c] + ε/C),  count = N
 *   class numbers y, s64[N]:  the same with q[n,c] = [c = y], and 0 where y is ignore_index;  count = Σ w[y]
 * with label smoothing ε (Szegedy et al. 2016) and class weights w (1 if left out), as PyTorch has it.
 *   dlogits[n,c] = dsum·(p[n,c]·Σ_k t[n,k] − t[n,c]) */
#include "op/layer.h"

#include <stdio.h>

#define FIELD(name) offsetof(rt_cross_entropy_attr, name)

static const rt_option options[] = {
    {"label_smoothing", RT_OPT_FLOAT, FIELD(label_smoothing), "0", 0, 1,
     .help = "share of the target spread over all classes"},
    {"ignore_index", RT_OPT_INT, FIELD(ignore_index), "-100", .help = "rows with this class number don't count"},
    {0},
};

/* The inputs logits, target, weight? from number `logits` on. */
static rt_status check(const rt_infer *c, int logits) {
  const rt_type *z = c->in[logits], *target = c->in[logits + 1];
  rt_status s;
  if ((s = rt_infer_float(c, logits)) || (s = rt_infer_rank(c, logits, 2, 2)) ||
      (s = rt_infer_vector(c, logits + 2, logits, 1)))
    return s;
  if (rt_dtype_is_float(target->dtype)) return rt_infer_same_shape(c, logits, logits + 1);
  if (target->dtype == RT_S64 && target->rank == 1 && !rt_dims_conflict(target->dim[0], z->dim[0])) return RT_OK;
  rt_type classes = rt_type_of(RT_S64, 1, z->dim);
  char z_text[RT_TYPE_TEXT], classes_text[RT_TYPE_TEXT], what[2 * RT_TYPE_TEXT + 64];
  snprintf(what, sizeof what, "class numbers, %s, or probabilities in the shape of logits, %s",
           rt_type_text(c->graph, &classes, classes_text, sizeof classes_text),
           rt_type_text(c->graph, z, z_text, sizeof z_text));
  return rt_infer_expected(c, logits + 1, what);
}

static rt_status infer(rt_infer *c) {
  c->out[0] = c->out[1] = rt_type_of(rt_wide(c->in[0]->dtype), 0, NULL);
  return check(c, 0);
}

static rt_status infer_backward(rt_infer *c) { /* dsum logits target weight? */
  c->out[0] = *c->in[1];
  rt_status s = rt_infer_scalar(c, 0);
  return s == RT_OK ? check(c, 1) : s;
}

static void grad(rt_grad *c) {
  const rt_node *n = c->node;
  if (c->want[0] && c->dy[0])
    c->dx[0] = rt_emit(c->graph, RT_OP(cross_entropy_backward), NULL, n->attr, 4, c->dy[0], n->in[0], n->in[1],
                       rt_node_in(n, 2));
}

/* One row's targets. */
typedef struct targets {
  const rt_tensor *probabilities, *weight; /* NULL: none */
  double smoothing;
  int64_t row, classes;
  int64_t label; /* −1: ignored */
} targets;

static double class_weight(const targets *t, int64_t k) { return t->weight ? rt_get(t->weight, k) : 1; }

static rt_status targets_of_row(const rt_call *c, int logits, int64_t row, targets *t) {
  const rt_cross_entropy_attr *a = c->attr;
  const rt_tensor *target = c->in[logits + 1];
  *t = (targets){.weight = rt_call_in(c, logits + 2), .smoothing = a->label_smoothing, .row = row};
  t->classes = c->in[logits]->dim[1];
  if (rt_dtype_is_float(target->dtype)) {
    t->probabilities = target;
    return RT_OK;
  }
  int64_t label = rt_load_int(target, row * target->stride[0]);
  t->label = label == a->ignore_index ? -1 : label;
  if (label == a->ignore_index || (label >= 0 && label < t->classes)) return RT_OK;
  return rt_fail(RT_E_RANGE, "%s %s: target[%lld] is %lld; expected 0 to %lld, or %lld to ignore it", c->op->name,
                 c->name, (long long)row, (long long)label, (long long)t->classes - 1, (long long)a->ignore_index);
}

/* t[n,k] of the formula. */
static double target_of_class(const targets *t, int64_t k) {
  if (t->label < 0) return 0;
  double uniform = t->smoothing / (double)t->classes;
  double q = t->probabilities ? rt_load(t->probabilities, rt_at2(t->probabilities, t->row, k)) : k == t->label;
  double sharp = (1 - t->smoothing) * q;
  return class_weight(t, k) * (sharp + uniform);
}

static double counted(const targets *t) {
  if (t->probabilities) return 1;
  return t->label < 0 ? 0 : class_weight(t, t->label);
}

static double log_sum_exp(const rt_tensor *logits, int64_t row) {
  int64_t top = 0;
  double others = 0;
  for (int64_t k = 1; k < logits->dim[1]; k++)
    if (rt_load(logits, rt_at2(logits, row, k)) > rt_load(logits, rt_at2(logits, row, top))) top = k;
  double most = rt_load(logits, rt_at2(logits, row, top));
  for (int64_t k = 0; k < logits->dim[1]; k++)
    if (k != top) others += exp(rt_load(logits, rt_at2(logits, row, k)) - most);
  return most + log1p(others);
}

static rt_status reference(const rt_call *c) {
  const rt_tensor *logits = c->in[0];
  double sum = 0, count = 0;
  for (int64_t n = 0; n < logits->dim[0]; n++) {
    targets t;
    rt_status s = targets_of_row(c, 0, n, &t);
    if (s != RT_OK) return s;
    double z = log_sum_exp(logits, n);
    for (int64_t k = 0; k < t.classes; k++) {
      double weight = target_of_class(&t, k);
      if (weight != 0) sum += weight * (z - rt_load(logits, rt_at2(logits, n, k))); /* 0·∞ is 0 here */
    }
    count += counted(&t);
  }
  rt_store_at(&c->out[0], 0, sum);
  rt_store_at(&c->out[1], 0, count);
  return RT_OK;
}

static rt_status reference_backward(const rt_call *c) {
  const rt_tensor *logits = c->in[1], *dlogits = c->out;
  double dsum = rt_load(c->in[0], 0);
  for (int64_t n = 0; n < logits->dim[0]; n++) {
    targets t;
    rt_status s = targets_of_row(c, 1, n, &t);
    if (s != RT_OK) return s;
    double z = log_sum_exp(logits, n), total = 0;
    for (int64_t k = 0; k < t.classes; k++) total += target_of_class(&t, k);
    for (int64_t k = 0; k < t.classes; k++) {
      double p = exp(rt_load(logits, rt_at2(logits, n, k)) - z);
      rt_store_at(dlogits, rt_at2(dlogits, n, k), dsum * (p * total - target_of_class(&t, k)));
    }
  }
  return RT_OK;
}

static const char *const cases[] = {
    "x[5,7] s64[5]<7",
    "x[1,2] s64[1]<2",
    "x[3,1] s64[3]<1",
    "x[5,4] s64[5]<4 f[4]+!",
    "x[5,33] s64[5]<33 ; label_smoothing=0.1",
    "x[9,4] s64[9]<4 f[4]+! ; label_smoothing=0.2 ignore_index=2",
    "x[4,5] f[4,5]+!",
    "x[4,5] f[4,5]+! f[5]+! ; label_smoothing=0.1",
    NULL,
};

static const char *const errors[] = {
    "x[5,7] s64[4]<7 ; => target must be class numbers, s64[5]",
    "x[5,7] s32[5]<7 ; => target must be class numbers",
    "x[5,7] f[5,6] ; => same shape",
    "x[5,7] s64[5]<7 f[5] ; => weight must be",
    "x[2,5,7] s64[2]<5 ; => logits must have rank 2",
    "x[5,7] s64[5]<7 ; label_smoothing=1.5 => label_smoothing",
    NULL,
};

static const char *const cases_backward[] = {
    "f[] x[5,7] s64[5]<7",
    "f[] x[9,4] s64[9]<4 f[4]+ ; label_smoothing=0.2 ignore_index=2",
    "f[] x[4,33] f[4,33]+ ; label_smoothing=0.1",
    NULL,
};

static const char *const errors_backward[] = {
    "f[1] x[5,7] s64[5]<7 ; => dsum must be a floating scalar",
    "f[] x[5,7] s64[4]<7 ; => target must be",
    NULL,
};

const rt_op rt_op_row_cross_entropy = {
    .name = "cross_entropy",
    .summary = "sum and count of −ln softmax(logits N×C) at target: class numbers s64[N], or probabilities N×C",
    .input_names = "logits target weight?",
    .options = options,
    .attr_size = sizeof(rt_cross_entropy_attr),
    .n_out = 2,
    .aux_outputs = 1 << 1,
    .f32_inputs = 1 << 2,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .precision = RT_PRECISION_F32,
    .flops = rt_flops_first,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_cross_entropy_backward = {
    .name = "cross_entropy_backward",
    .summary = "gradient of cross_entropy's logits from that of its sum",
    .input_names = "dsum logits target weight?",
    .options = options,
    .attr_size = sizeof(rt_cross_entropy_attr),
    .n_out = 1,
    .f32_inputs = 1 << 0 | 1 << 3,
    .infer = infer_backward,
    .reference = reference_backward,
    .precision = RT_PRECISION_F32,
    .cases = cases_backward,
    .errors = errors_backward,
};
