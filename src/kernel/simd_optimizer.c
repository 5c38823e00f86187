/* One pass over weights, gradients and state: bound by memory. Outputs may be the inputs. */
#include "kernel/simd_isa.h"

#include <math.h>

void RT_NAME(sgd)(const float *w, const float *g, const float *m, float *w_out, float *m_out, int64_t n, float lr,
                  float momentum, float decay, float scale, bool nesterov) {
  /* The step is lr (of_d d + of_m m'): one loop for both forms. */
  float of_d = nesterov ? 1.0f : 0.0f, of_m = nesterov ? momentum : 1.0f;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float d = scale * g[i] + decay * w[i], v = momentum * m[i] + d;
    w_out[i] = w[i] - lr * (of_d * d + of_m * v);
    m_out[i] = v;
  }
}

void RT_NAME(adamw)(const float *w, const float *g, const float *m, const float *v, float *w_out, float *m_out,
                    float *v_out, int64_t n, const rt_adamw_step *step) {
  const rt_adamw_step s = *step;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float d = s.scale * g[i];
    float first = m[i] + (d - m[i]) * (1 - s.beta1), second = s.beta2 * v[i] + (1 - s.beta2) * d * d;
    w_out[i] = s.keep * w[i] - s.rate * first / (sqrtf(second) * s.root + s.eps);
    m_out[i] = first;
    v_out[i] = second;
  }
}

void RT_NAME(blend)(const float *a, const float *b, float *y, int64_t n, float p, float q) {
  if (p == 0 || q == 0) { /* whatever the other holds, NaN too */
    const float *x = p == 0 ? b : a;
    float by = p == 0 ? q : p;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = by == 0 ? 0 : by * x[i];
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; i++) y[i] = p * a[i] + q * b[i];
}

/* In f64 from the start: squares of finite floats don't overflow. */
void RT_NAME(sum_squares)(const float *x, int64_t n, double *sum) {
  enum { LANES = 16 };
  double lane[LANES] = {0};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
#pragma omp simd
    for (int64_t j = 0; j < LANES; j++) lane[j] += (double)x[i + j] * (double)x[i + j];
  }
  *sum = 0;
  for (int j = 0; j < LANES; j++) *sum += lane[j];
  for (; i < n; i++) *sum += (double)x[i] * (double)x[i];
}
