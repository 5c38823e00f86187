/* f32 to u8 and back, flat. */
#include "kernel/own.h"

typedef struct job {
  const float *f32;
  const uint8_t *u8;
  void *out;
  float scale, zero, high;
} job;

static void quantize(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const float *restrict x = j->f32;
  uint8_t *restrict q = j->out;
  for (int64_t i = begin; i < end; i++) {
    float v = __builtin_nearbyintf(x[i] * j->scale) + j->zero;
    v = v > 0 ? v : 0;
    q[i] = (uint8_t)(int)(v < j->high ? v : j->high);
  }
}

static void dequantize(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const uint8_t *restrict q = j->u8;
  float *restrict y = j->out;
  for (int64_t i = begin; i < end; i++) y[i] = j->scale * ((float)q[i] - j->zero);
}

static bool alike_but_dtype(const rt_site *site) {
  rt_type as_out = *site->in[0];
  as_out.dtype = site->out->dtype;
  return own_alike(&as_out, site->out);
}

static bool accepts_quantize(const rt_site *site) { return site->in[0]->dtype == RT_F32 && alike_but_dtype(site); }

static rt_status run_quantize(const rt_kernel_call *call) {
  const rt_quantize_attr *a = call->site->attr;
  job j = {.f32 = call->in[0]->data,
           .out = call->out->data,
           .scale = 1 / (float)a->scale,
           .zero = (float)a->zero_point,
           .high = (float)a->high};
  rt_parallel_for(rt_tensor_elements(call->out), OWN_GRAIN, quantize, &j);
  return RT_OK;
}

static rt_status run_dequantize(const rt_kernel_call *call) {
  const rt_quantize_attr *a = call->site->attr;
  job j = {.u8 = call->in[0]->data, .out = call->out->data, .scale = (float)a->scale, .zero = (float)a->zero_point};
  rt_parallel_for(rt_tensor_elements(call->out), OWN_GRAIN, dequantize, &j);
  return RT_OK;
}

const rt_kernel rt_kernel_quantize = {"own_quantize", RT_OP(quantize), accepts_quantize, NULL, run_quantize, NULL};
const rt_kernel rt_kernel_dequantize = {
    "own_dequantize", RT_OP(dequantize), alike_but_dtype, NULL, run_dequantize, NULL};
