/* global_norm: the Euclidean norm of all elements of all its tensors.
 * gradient_scale: what a step's gradients are multiplied by, and whether the step is sound:
 *   finite = 1 where norm and loss are finite, else 0       scale = finite·min(1, limit/(norm + 1e-6))
 * the clipping of PyTorch's clip_grad_norm_. A limit of ∞ only checks. */
#include "op/layer.h"

static rt_status infer_norm(rt_infer *c) {
  const rt_type *first = c->in[0];
  for (int i = 0; i < c->n_in; i++)
    if ((c->in[i]->dtype != RT_F32 && c->in[i]->dtype != RT_F64) || c->in[i]->dtype != first->dtype)
      return rt_infer_expected(c, i, "f32, as all of them (or all f64)");
  *c->out = rt_type_of(first->dtype, 0, NULL);
  return RT_OK;
}

static rt_status reference_norm(const rt_call *c) {
  double sum = 0;
  for (int i = 0; i < c->n_in; i++)
    for (int64_t j = 0, n = rt_tensor_elements(c->in[i]); j < n; j++) {
      double v = rt_get(c->in[i], j);
      sum += v * v;
    }
  rt_put(c->out, 0, sqrt(sum));
  return RT_OK;
}

static const char *const cases_norm[] = {
    "f[5,3]", "f[]", "f[70000] f[2,3,3,1] f[1]", "f[3]=1e30 f[2]", NULL,
};
static const char *const errors_norm[] = {"f[3] s64[3] ; => must be f32", NULL};

const rt_op rt_op_row_global_norm = {
    .name = "global_norm",
    .summary = "y = sqrt(sum of squares) over all tensors",
    .input_names = "tensor*",
    .n_out = 1,
    .infer = infer_norm,
    .reference = reference_norm,
    .precision = RT_PRECISION_F32,
    .flops = rt_flops_none,
    .cases = cases_norm,
    .errors = errors_norm,
};

static rt_status infer_scale(rt_infer *c) {
  rt_status s = RT_OK;
  for (int i = 0; i < c->n_in && s == RT_OK; i++) s = rt_infer_scalar(c, i);
  c->out[0] = c->out[1] = rt_type_of(rt_wide(c->in[0]->dtype), 0, NULL);
  return s;
}

static rt_status reference_scale(const rt_call *c) {
  double norm = rt_get(c->in[0], 0), loss = rt_get(c->in[1], 0), limit = rt_get(c->in[2], 0);
  if (!(limit > 0)) return rt_call_fail(c, "the limit of the norm is %g; it must be above 0", limit);
  bool finite = isfinite(norm) && isfinite(loss);
  double scale = limit / (norm + 1e-6);
  rt_put(&c->out[0], 0, !finite ? 0 : scale < 1 ? scale : 1);
  rt_put(&c->out[1], 0, finite);
  return RT_OK;
}

static const char *const cases_scale[] = {
    "f[]=3 f[]=1 f[]=1",   "f[]=0.5 f[]=1 f[]=1",   "f[]=2 f[]=1 f[]=inf",
    "f[]=inf f[]=1 f[]=1", "f[]=2 f[]=nan f[]=inf", NULL,
};
static const char *const errors_scale[] = {"f[]=3 f[1]=1 f[]=1 ; => loss must be a floating scalar", NULL};

const rt_op rt_op_row_gradient_scale = {
    .name = "gradient_scale",
    .summary =
        "factor that brings gradients of this norm down to the limit, 0 where norm or loss isn't finite; and whether "
        "they are",
    .input_names = "norm loss limit",
    .n_out = 2,
    .infer = infer_scale,
    .reference = reference_scale,
    .precision = RT_PRECISION_F32,
    .flops = rt_flops_none,
    .cases = cases_scale,
    .errors = errors_scale,
};
