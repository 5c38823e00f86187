/* One pass over weights, gradients and state: bound by memory. Outputs may be the inputs. */
#include "kernel/simd_isa.h"

#include <math.h>

void RT_NAME(sgd)(const float *w, const float *g, const float *m, float *w_out, float *m_out, int64_t n, float lr,
                  float momentum, float decay, bool nesterov) {
  /* The step is lr (of_d d + of_m m'): one loop for both forms. */
  float of_d = nesterov ? 1.0f : 0.0f, of_m = nesterov ? momentum : 1.0f;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float d = g[i] + decay * w[i], v = momentum * m[i] + d;
    w_out[i] = w[i] - lr * (of_d * d + of_m * v);
    m_out[i] = v;
  }
}

void RT_NAME(adamw)(const float *w, const float *g, const float *m, const float *v, float *w_out, float *m_out,
                    float *v_out, int64_t n, const rt_adamw_step *step) {
  const rt_adamw_step s = *step;
#pragma omp simd
  for (int64_t i = 0; i < n; i++) {
    float first = m[i] + (g[i] - m[i]) * (1 - s.beta1), second = s.beta2 * v[i] + (1 - s.beta2) * g[i] * g[i];
    w_out[i] = s.keep * w[i] - s.rate * first / (sqrtf(second) * s.root + s.eps);
    m_out[i] = first;
    v_out[i] = second;
  }
}
