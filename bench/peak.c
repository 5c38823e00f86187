/* What this machine can do at most: multiply-adds from registers only, and bytes from memory. Figures to hold a layer's
 * against: build/release/bench/peak */
#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REPEAT = 20, LOOPS = 2000000, CHAINS = 12 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static volatile float sink;

__attribute__((target("avx512f"))) static void fp32_avx512(void) {
  __m512 sum[CHAINS], a = _mm512_set1_ps(1.0001f), b = _mm512_set1_ps(0.5f), all = a;
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++) sum[j] = a;
  for (int i = 0; i < LOOPS; i++)
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++) {
      sum[j] = _mm512_fmadd_ps(sum[j], b, a);
      __asm__("" : "+v"(sum[j])); /* as it stands: neither hoisted nor joined */
    }
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++) all = _mm512_add_ps(all, sum[j]);
  sink = _mm512_reduce_add_ps(all);
}

__attribute__((target("avx2,fma"))) static void fp32_avx2(void) {
  __m256 sum[CHAINS], a = _mm256_set1_ps(1.0001f), b = _mm256_set1_ps(0.5f), all = a;
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++) sum[j] = a;
  for (int i = 0; i < LOOPS; i++)
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++) {
      sum[j] = _mm256_fmadd_ps(sum[j], b, a);
      __asm__("" : "+x"(sum[j]));
    }
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++) all = _mm256_add_ps(all, sum[j]);
  sink = _mm256_cvtss_f32(all);
}

__attribute__((target("avx512f,avx512bf16"))) static void bf16_avx512(void) {
  __m512 sum[CHAINS], all = _mm512_setzero_ps();
  __m512i words = _mm512_set1_epi32(0x3F003F00);
  __m512bh a = (__m512bh)words;
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++) sum[j] = all;
  for (int i = 0; i < LOOPS; i++)
#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++) {
      sum[j] = _mm512_dpbf16_ps(sum[j], a, a);
      __asm__("" : "+v"(sum[j]));
    }
#pragma GCC unroll 12
  for (int j = 0; j < CHAINS; j++) all = _mm512_add_ps(all, sum[j]);
  sink = _mm512_reduce_add_ps(all);
}

/* Best of several runs on all threads. */
static void arithmetic(const char *name, void (*loop)(void), double flops_each) {
  double best = 1e30;
  for (int r = 0; r < REPEAT; r++) {
    double start = now();
#pragma omp parallel
    loop();
    if (now() - start < best) best = now() - start;
  }
  printf("%-12s %8.0f Gflop/s\n", name, flops_each * CHAINS * LOOPS * omp_get_max_threads() / best * 1e-9);
}

/* x[i] = a y[i] + z[i] over arrays far larger than the caches: 12 bytes an element. */
static void memory(void) {
  const int64_t n = (int64_t)1 << 25;
  float *x = malloc((size_t)n * 4), *y = malloc((size_t)n * 4), *z = malloc((size_t)n * 4);
  double best = 1e30;
  for (int r = 0; x && y && z && r < REPEAT; r++) {
    double start = now();
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) x[i] = r ? 0.5f * y[i] + z[i] : (y[i] = z[i] = 1);
    if (r && now() - start < best) best = now() - start;
  }
  printf("%-12s %8.1f GB/s\n", "memory", 12.0 * (double)n / best * 1e-9);
  free(x);
  free(y);
  free(z);
}

int main(void) {
  printf("%d threads, best of %d runs\n", omp_get_max_threads(), REPEAT);
  if (__builtin_cpu_supports("fma")) arithmetic("fp32, avx2", fp32_avx2, 2 * 8);
  if (__builtin_cpu_supports("avx512f")) arithmetic("fp32, avx512", fp32_avx512, 2 * 16);
  if (__builtin_cpu_supports("avx512bf16")) arithmetic("bf16, avx512", bf16_avx512, 2 * 32);
  memory();
}
