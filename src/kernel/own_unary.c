/* y = f(x) and dx = dy f'(s), flat, and casts: between f32 and bf16, and of levels. */
#include "kernel/own.h"

typedef void forward_loop(const float *x, float *y, int64_t n, float alpha);
typedef void backward_loop(const float *dy, const float *s, float *dx, int64_t n, float alpha);

typedef struct job {
  const rt_simd *simd;
  rt_dtype dtype;
  const void *in[2];
  void *out;
  forward_loop *forward;
  backward_loop *backward;
  float alpha;
} job;

static void flat(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  float buffer[3][OWN_TILE];
  for (int64_t i = begin; i < end; i += OWN_TILE) {
    int64_t n = end - i < OWN_TILE ? end - i : OWN_TILE;
    const float *a = own_tile(j->simd, j->dtype, j->in[0], i, n, buffer[0]);
    float *y = own_tile_begin(j->dtype, j->out, i, buffer[2]);
    if (j->forward)
      j->forward(a, y, n, j->alpha);
    else
      j->backward(a, own_tile(j->simd, j->dtype, j->in[1], i, n, buffer[1]), y, n, j->alpha);
    own_tile_end(j->simd, j->dtype, j->out, i, n, y);
  }
}

static rt_status run(const rt_kernel_call *call, forward_loop *forward, backward_loop *backward) {
  const rt_unary_attr *attr = call->site->attr;
  job j = {.simd = rt_simd_get(),
           .dtype = call->out->dtype,
           .in = {own_in(call, 0), own_in(call, 1)},
           .out = call->out->data,
           .forward = forward,
           .backward = backward,
           .alpha = (float)attr->alpha};
  rt_parallel_for(rt_tensor_elements(call->out), OWN_GRAIN, flat, &j);
  return RT_OK;
}

static bool accepts(const rt_site *site) {
  for (int i = 0; i < site->n_in; i++)
    if (!own_alike(site->in[i], site->out)) return false;
  return own_dtype(site->out->dtype);
}

/* Only gelu has a second formula. */
static bool by_tanh(const rt_kernel_call *call) { return ((const rt_unary_attr *)call->site->attr)->approximate; }

#define FORWARD(name_) \
  static rt_status run_##name_(const rt_kernel_call *call) { \
    const rt_simd *s = rt_simd_get(); \
    return run(call, by_tanh(call) ? s->unary_gelu_tanh : s->unary_##name_, NULL); \
  } \
  const rt_kernel rt_kernel_##name_ = {"own_" #name_, RT_OP(name_), accepts, NULL, run_##name_, NULL};

#define BACKWARD(name_) \
  static rt_status run_##name_##_backward(const rt_kernel_call *call) { \
    const rt_simd *s = rt_simd_get(); \
    return run(call, NULL, by_tanh(call) ? s->unary_gelu_tanh_backward : s->unary_##name_##_backward); \
  } \
  const rt_kernel rt_kernel_##name_##_backward = { \
      "own_" #name_ "_backward", RT_OP(name_##_backward), accepts, NULL, run_##name_##_backward, NULL};

#define PAIR(name) FORWARD(name) BACKWARD(name)

PAIR(relu)
PAIR(relu6)
PAIR(leaky_relu)
PAIR(gelu)
PAIR(silu)
PAIR(sigmoid)
PAIR(tanh)
PAIR(hardswish)
PAIR(hardsigmoid)
FORWARD(neg)
PAIR(exp)
PAIR(log)
PAIR(sqrt)
PAIR(square)
PAIR(erf)
PAIR(abs)

/* ---- cast ---- */

static void convert(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  if (j->dtype == RT_U8) /* levels as what they are: the grid of step 1 */
    j->simd->dequantize((const uint8_t *)j->in[0] + begin, (float *)j->out + begin, end - begin, 1, 0);
  else if (j->dtype == RT_BF16)
    j->simd->widen((const uint16_t *)j->in[0] + begin, (float *)j->out + begin, end - begin);
  else
    j->simd->narrow((const float *)j->in[0] + begin, (uint16_t *)j->out + begin, end - begin);
}

static rt_status run_cast(const rt_kernel_call *call) {
  job j = {.simd = rt_simd_get(), .dtype = call->in[0]->dtype, .in = {own_in(call, 0)}, .out = call->out->data};
  rt_parallel_for(rt_tensor_elements(call->out), OWN_GRAIN, convert, &j);
  return RT_OK;
}

static bool accepts_cast(const rt_site *site) {
  rt_type as_out = *site->in[0];
  as_out.dtype = site->out->dtype;
  rt_dtype from = site->in[0]->dtype, to = site->out->dtype;
  bool floats = own_dtype(from) && own_dtype(to) && from != to;
  return (floats || (from == RT_U8 && to == RT_F32)) && own_alike(&as_out, site->out);
}

const rt_kernel rt_kernel_cast = {"own_cast", RT_OP(cast), accepts_cast, NULL, run_cast, NULL};
