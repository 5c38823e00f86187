/* Functions of one and two elements, flat, in float: own_unary.c and own_binary.c convert bf16 a tile at a time. */
#include "kernel/simd_isa.h"
#include "kernel/simd_math.h"

#include <math.h>

#define K(c) ((float)(c))
#define EXP simd_exp
#define TANH simd_tanh
#define ERF simd_erf
#define LOG simd_log
#define SQRT sqrtf
#define MAX(a, b) ((b) > (a) ? (b) : (a))
#define MIN(a, b) ((b) < (a) ? (b) : (a))

#define UNARY(name, saved, forward, derivative) \
  void RT_NAME(unary_##name)(const float *from, float *y, int64_t n, float alpha) { \
    (void)alpha; \
    _Pragma("omp simd") for (int64_t i = 0; i < n; i++) { \
      float x = from[i]; \
      y[i] = forward; \
    } \
  } \
  void RT_NAME(unary_##name##_backward)(const float *dy, const float *from, float *dx, int64_t n, float alpha) { \
    (void)alpha; \
    _Pragma("omp simd") for (int64_t i = 0; i < n; i++) { \
      float s = from[i]; \
      (void)s; \
      dx[i] = dy[i] * (derivative); \
    } \
  }
#include "op/unary.def"

#define BINARY(name, formula, text) \
  void RT_NAME(binary_##name)(const float *x, const float *z, float *y, int64_t n) { \
    _Pragma("omp simd") for (int64_t i = 0; i < n; i++) { \
      float a = x[i], b = z[i]; \
      y[i] = formula; \
    } \
  }
#include "op/binary.def"
