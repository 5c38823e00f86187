/* y[n, c] = 1 where c is label[n], 0 elsewhere: of the shape and dtype of `like`, of which nothing else is read. */
#include "op/layer.h"

static rt_status infer(rt_infer *c) {
  rt_status s = rt_infer_index(c, 0);
  if (s == RT_OK) s = rt_infer_rank(c, 0, 1, 1);
  if (s == RT_OK) s = rt_infer_rank(c, 1, 2, 2);
  if (s == RT_OK) s = rt_infer_float(c, 1);
  if (s == RT_OK) s = rt_infer_same(c, 0, 0, 1, 0);
  c->out[0] = *c->in[1];
  return s;
}

/* Labels are data: no gradient arrives anywhere. */
static void grad(rt_grad *c) { (void)c; }

static rt_status reference(const rt_call *c) {
  const rt_tensor *label = c->in[0], *y = c->out;
  for (int64_t n = 0; n < y->dim[0]; n++) {
    int64_t of = rt_load_int(label, n * label->stride[0]);
    if (of < 0 || of >= y->dim[1])
      return rt_call_fail(c, "label[%lld] is %lld; expected 0 to %lld", (long long)n, (long long)of,
                          (long long)y->dim[1] - 1);
    for (int64_t k = 0; k < y->dim[1]; k++) rt_store_at(y, rt_at2(y, n, k), k == of);
  }
  return RT_OK;
}

static const char *const cases[] = {"s64[5]<7 x[5,7]!", "s32[1]<2 x[1,2]!", "s64[3]<1 x[3,1]!", NULL};
static const char *const errors[] = {"s64[5]<7 x[4,7] ; => dimension 0 of like is expected 5",
                                     "x[5] x[5,7] ; => expected label", "s64[5]<7 x[5] ; => like must have rank 2",
                                     NULL};

const rt_op rt_op_row_one_hot = {
    .name = "one_hot",
    .summary = "y = 1 at label[n] of row n, 0 elsewhere, in the shape and dtype of like, N×C",
    .input_names = "label like",
    .n_out = 1,
    .shape_only = 1u << 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .precision = RT_PRECISION_FOLLOW,
    .flops = rt_flops_none,
    .cases = cases,
    .errors = errors,
};
