/* adamw (Loshchilov and Hutter 2019), as in PyTorch: m ← β₁·m + (1−β₁)·g,  v ← β₂·v + (1−β₂)·g²,
 * w ← w − lr·(weight_decay·w + m̂/(√v̂ + eps)),  m̂ = m/(1−β₁ᵗ),  v̂ = v/(1−β₂ᵗ), t from 1, where g is the gradient times
 * scale. Scale 0 leaves all as it was. */
#include "op/optimizer.h"

static const rt_optimizer_form form = {.scalars = 7, .states = 2};

static int outputs(const void *attr, int n_in) { return rt_optimizer_outputs(form, n_in); }
static int inplace(int n_in, int out) { return rt_optimizer_input(form, out); }
static rt_status infer(rt_infer *c) { return rt_optimizer_infer(c, form); }

static void step(double *v, double g, const double *s, const void *attr) {
  double lr = s[0], beta1 = s[1], beta2 = s[2], eps = s[3], weight_decay = s[4], t = s[5], scale = s[6];
  if (scale == 0) return;
  g *= scale;
  v[1] = beta1 * v[1] + (1 - beta1) * g;
  v[2] = beta2 * v[2] + (1 - beta2) * g * g;
  double m = v[1] / (1 - pow(beta1, t)), root = sqrt(v[2] / (1 - pow(beta2, t)));
  v[0] -= lr * (weight_decay * v[0] + m / (root + eps));
}

static rt_status reference(const rt_call *c) {
  double t = rt_load(c->in[5], 0);
  if (!(t >= 1) && rt_load(c->in[6], 0) != 0)
    return rt_fail(RT_E_RANGE, "%s %s: step is %g; it counts from 1", c->op->name, c->name, t);
  return rt_optimizer_reference(c, form, step);
}

#define SCALARS "f[]=0.1 f[]=0.9 f[]=0.99 f[]=0.001 f[]=0.01 f[]=3 f[]=1 "

static const char *const cases[] = {
    SCALARS "f[5,3] f[5,3] f[5,3] f[5,3]+",
    SCALARS "f[1] f[1] f[1] f[1]+",
    SCALARS "f[17] f[17] f[17] f[17]+ f[2,3,3,1] f[2,3,3,1] f[2,3,3,1] f[2,3,3,1]+",
    "f[]=0.1 f[]=0.9 f[]=0.99 f[]=0.001 f[]=0.01 f[]=3 f[]=0.25 f[17] f[17] f[17] f[17]+",
    "f[]=0.1 f[]=0.9 f[]=0.99 f[]=0.001 f[]=0.01 f[]=0 f[]=0 f[17] f[17] f[17] f[17]+",
    NULL,
};

static const char *const errors[] = {
    SCALARS "f[5] f[5] f[5] ; => each parameter needs 4",
    SCALARS "f[5] f[5] f[5] f[6] ; => of one shape",
    "f[]=0.1 f[]=0.9 f[]=0.99 f[1]=0.001 f[]=0 f[]=3 f[]=1 f[5] f[5] f[5] f[5] ; => eps must be a floating scalar",
    NULL,
};

const rt_op rt_op_row_adamw = {
    .name = "adamw",
    .summary = "new weight and moments of each parameter, from groups of weight, gradient, first and second moment",
    .input_names = "lr beta1 beta2 eps weight_decay step scale parameter*",
    .n_out = -1,
    .outputs = outputs,
    .infer = infer,
    .reference = reference,
    .inplace = inplace,
    .precision = RT_PRECISION_F32,
    .cases = cases,
    .errors = errors,
};
