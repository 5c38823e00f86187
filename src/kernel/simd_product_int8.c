/* The matrix product's microkernel in int8: u8 × s8 summed in s32, four steps of k at a time. As in simd_product.c a tile of
 * C stays in registers: 6×64 where there are 32 of them. */
#include "kernel/simd_vec.h"

#if defined __AVX512F__
enum { ROWS = 6, VECTORS = 4 };
#else
enum { ROWS = 6, VECTORS = 2 };
#endif
enum { COLUMNS = VECTORS * LANES };

typedef struct operands {
  const uint8_t *a;
  const int8_t *b;
  const int32_t *start;
  int32_t *c;
  int64_t k, a_row, c_row;
} operands;

#if defined __AVX512VNNI__

enum { AHEAD = 8192 }; /* bytes of b: with few rows it comes from memory faster than the hardware foresees */

INLINE void tile(const operands *o, const int rows, const int vectors) {
  const uint8_t *a = o->a;
  const int8_t *b = o->b;
  int64_t a_row = o->a_row;
  __m512i sum[ROWS][VECTORS];
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[r][v] = _mm512_loadu_si512(o->start + v * LANES);
  for (int64_t k = 0; k < o->k; k++, a += 4, b += 4 * COLUMNS) {
    __m512i right[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) _mm_prefetch((const char *)b + AHEAD + 4 * v * LANES, _MM_HINT_T1);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) right[v] = _mm512_loadu_si512(b + 4 * v * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      int32_t word;
      memcpy(&word, a + r * a_row, sizeof word);
      __m512i left = _mm512_set1_epi32(word);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], left, right[v]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) _mm512_storeu_si512(o->c + r * o->c_row + v * LANES, sum[r][v]);
}

#else

/* Right on every CPU; made for speed only where there is an instruction for it. */
INLINE void tile(const operands *o, const int rows, const int vectors) {
  for (int r = 0; r < rows; r++) {
    int32_t sum[COLUMNS];
    memcpy(sum, o->start, (size_t)(vectors * LANES) * sizeof *sum);
    for (int64_t k = 0; k < o->k; k++)
      for (int j = 0; j < vectors * LANES; j++)
        for (int i = 0; i < 4; i++) sum[j] += o->a[r * o->a_row + 4 * k + i] * o->b[4 * (k * COLUMNS + j) + i];
    memcpy(o->c + r * o->c_row, sum, (size_t)(vectors * LANES) * sizeof *sum);
  }
}

#endif

INLINE void by_rows(const operands *o, int rows, const int vectors) {
  switch (rows) {
  case 6: tile(o, 6, vectors); break;
  case 5: tile(o, 5, vectors); break;
  case 4: tile(o, 4, vectors); break;
  case 3: tile(o, 3, vectors); break;
  case 2: tile(o, 2, vectors); break;
  default: tile(o, 1, vectors); break;
  }
}

/* rows ≤ ROWS, columns ≤ COLUMNS rounded up to whole vectors: C must have room for them. */
void RT_NAME(product_int8)(int rows, int columns, int64_t k, const uint8_t *a, int64_t a_row, const int8_t *b,
                           const int32_t *start, int32_t *c, int64_t c_row) {
  const operands o = {a, b, start, c, k, a_row, c_row};
  switch ((columns + LANES - 1) / LANES) {
#if defined __AVX512F__
  case 4: by_rows(&o, rows, 4); break;
  case 3: by_rows(&o, rows, 3); break;
#endif
  case 2: by_rows(&o, rows, 2); break;
  default: by_rows(&o, rows, 1); break;
  }
}
