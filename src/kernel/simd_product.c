/* The matrix product's microkernel: a tile of C, rows × (vectors·LANES), stays in registers while k runs.
 *   C[r][j] (+)= Σ_k A[r·a_row + k·a_k] · B[k·b_k + j]
 * A and B count in words of 32 bits: a float, or two consecutive k of bf16. With 32 registers of 16 lanes a tile is
 * 6×64: 24 sums, 4 vectors of B, and a broadcast of A that feeds 4 products. */
#include "kernel/simd_vec.h"

#if defined __AVX512F__
enum { ROWS = 6, VECTORS = 4 };
#else
enum { ROWS = 6, VECTORS = 2 };
#endif

void RT_NAME(product_shape)(int *rows, int *columns, int *lanes) {
  *rows = ROWS;
  *columns = VECTORS * LANES;
  *lanes = LANES;
}

typedef struct operands {
  const uint32_t *a, *b;
  float *c;
  int64_t k, a_row, a_k, b_k, c_row;
  bool add;
} operands;

INLINE void tile(const operands *o, const bool bf16, const int rows, const int vectors) {
  const uint32_t *a = o->a, *b = o->b;
  int64_t a_row = o->a_row, a_k = o->a_k, b_k = o->b_k;
  vec sum[ROWS][VECTORS];
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[r][v] = (vec){0};
  for (int64_t k = 0; k < o->k; k++, a += a_k, b += b_k) {
    words right[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) right[v] = words_load(b + v * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
      words left = (words){0} + a[r * a_row];
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++)
        sum[r][v] = bf16 ? bf16_multiply_add(sum[r][v], left, right[v]) : f32_multiply_add(sum[r][v], left, right[v]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
      float *c = o->c + r * o->c_row + v * LANES;
      f32_store(c, o->add ? f32_load(c) + sum[r][v] : sum[r][v]);
    }
}

INLINE void by_rows(const operands *o, const bool bf16, int rows, const int vectors) {
  switch (rows) {
  case 6: tile(o, bf16, 6, vectors); break;
  case 5: tile(o, bf16, 5, vectors); break;
  case 4: tile(o, bf16, 4, vectors); break;
  case 3: tile(o, bf16, 3, vectors); break;
  case 2: tile(o, bf16, 2, vectors); break;
  default: tile(o, bf16, 1, vectors); break;
  }
}

INLINE void product(const operands *o, const bool bf16, int rows, int vectors) {
  switch (vectors) {
#if defined __AVX512F__
  case 4: by_rows(o, bf16, rows, 4); break;
  case 3: by_rows(o, bf16, rows, 3); break;
#endif
  case 2: by_rows(o, bf16, rows, 2); break;
  default: by_rows(o, bf16, rows, 1); break;
  }
}

/* rows ≤ ROWS, columns ≤ VECTORS·LANES rounded up to whole vectors: B and C must have room for them. */
#define PRODUCT(dtype, bf16) \
  void RT_NAME(product_##dtype)(int rows, int columns, int64_t k, const void *a, int64_t a_row, int64_t a_k, \
                                const void *b, int64_t b_k, float *c, int64_t c_row, bool add) { \
    const operands o = {a, b, c, k, a_row, a_k, b_k, c_row, add}; \
    product(&o, bf16, rows, (columns + LANES - 1) / LANES); \
  }
PRODUCT(f32, false)
PRODUCT(bf16, true)
