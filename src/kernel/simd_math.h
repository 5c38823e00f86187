/* exp, log, tanh and erf in float, without branches, so that loops over them vectorise. Relative errors below 2e-7
 * against libm; minimax polynomials fitted by Lawson's iteration. For simd_*.c only. */
#ifndef RT_KERNEL_SIMD_MATH_H
#define RT_KERNEL_SIMD_MATH_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline float float_of(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

static inline uint32_t bits_of(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}

/* condition ? a : b. GCC sinks the arithmetic of an operand of ?: into a branch, and then doesn't vectorise. */
static inline float choose(bool condition, float a, float b) {
  uint32_t mask = 0 - (uint32_t)condition;
  return float_of((bits_of(a) & mask) | (bits_of(b) & ~mask));
}

/* e^x = 2^n e^r, |r| <= ln 2 / 2; ln 2 in two parts, the first with few enough bits that n times it is exact. */
static inline float simd_exp(float x) {
  const float round = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
  float v = x < -104.0f ? -104.0f : x;
  v = v > 89.0f ? 89.0f : v;
  float t = v * 1.44269504f + round, n = t - round;
  float r = (v - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 0.0013813144760206342f;
  p = p * r + 0.008369418792426586f;
  p = p * r + 0.04166845604777336f;
  p = p * r + 0.16666515171527863f;
  p = p * r + 0.4999999403953552f;
  float y = 1 + (r + p * (r * r));
  /* 2^n in two factors: neither leaves the exponent's range, the product may. */
  uint32_t k = bits_of(t) - bits_of(round), half = (uint32_t)((int32_t)k >> 1);
  return y * float_of((half + 127) << 23) * float_of((k - half + 127) << 23);
}

/* ln x = e ln 2 + ln(1 + f), f in [sqrt(1/2) - 1, sqrt(2) - 1] */
static inline float simd_log(float x) {
  bool tiny = x < 0x1p-126f;
  float scaled = choose(tiny, x * 0x1p23f, x), bias = choose(tiny, -23.0f, 0.0f);
  uint32_t u = bits_of(scaled), e = (uint32_t)((int32_t)(u - 0x3F3504F3u) >> 23);
  float f = float_of(u - (e << 23)) - 1, n = (float)(int32_t)e + bias;
  float p = 0.06746703386306763f;
  p = p * f - 0.11675773561000824f;
  p = p * f + 0.11888200789690018f;
  p = p * f - 0.12405572831630707f;
  p = p * f + 0.1421954482793808f;
  p = p * f - 0.1666799634695053f;
  p = p * f + 0.2000211924314499f;
  p = p * f - 0.25000008940696716f;
  p = p * f + 0.3333331346511841f;
  float square = f * f, y = f + (square * (p * f - 0.5f) - n * 2.12194440e-4f) + n * 0.693359375f;
  y = choose(x > 0, y, __builtin_nanf(""));
  y = choose(x == 0, -__builtin_inff(), y);
  return choose(x < __builtin_inff(), y, x);
}

static inline float simd_tanh(float x) {
  float a = __builtin_fabsf(x), s = x * x;
  float p = -0.005660028662532568f;
  p = p * s + 0.02059103175997734f;
  p = p * s - 0.05372108519077301f;
  p = p * s + 0.13331127166748047f;
  p = p * s - 0.3333325982093811f;
  float near = x + x * (p * s), far = 1 - 2 / (simd_exp(2 * a) + 1);
  return choose(a < 0.625f, near, __builtin_copysignf(far, x));
}

/* x P(x²) below 0.95, beyond it 1 - e^Q(|x|) */
static inline float simd_erf(float x) {
  float a = __builtin_fabsf(x), s = x * x;
  float p = 8.185129991034046e-05f;
  p = p * s - 0.0008097714744508266f;
  p = p * s + 0.005196953192353249f;
  p = p * s - 0.026857705786824226f;
  p = p * s + 0.11283663660287857f;
  p = p * s - 0.37612631916999817f;
  p = p * s + 0.128379225730896f;
  float t = a > 3.95f ? 3.95f : a;
  float q = -2.133452653652057e-05f;
  q = q * t + 0.00043723804992623627f;
  q = q * t - 0.004184549208730459f;
  q = q * t + 0.02515505813062191f;
  q = q * t - 0.10833539068698883f;
  q = q * t - 0.6332964301109314f;
  q = q * t - 1.129539966583252f;
  q = q * t + 0.00017992504581343383f;
  float near = x + x * p, far = 1 - simd_exp(q);
  return choose(a >= 0.95f, __builtin_copysignf(far, x), near); /* a NaN is near */
}

#endif
