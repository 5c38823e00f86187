#include "kernel/amx.h"

#if defined __AMX_BF16__
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

bool rt_amx_start(void) {
  enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* arch_prctl(2): ARCH_REQ_XCOMP_PERM */
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

/* Eight tiles of 16 rows of 64 bytes. A constant: compilers don't know how much of it the instruction reads, and leave out
 * what they see written to it just before. */
void rt_amx_begin(void) {
  static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
  _tile_loadconfig(&config);
}

void rt_amx_end(void) { _tile_release(); }

static inline __mmask32 mask_of(int64_t left) { return left < 32 ? (1u << left) - 1 : 0xFFFFFFFFu; }

static inline void fetch(const void *a, const void *b) {
  __builtin_prefetch(a);
  __builtin_prefetch(b);
}

/* Rows and columns of 16×16 words change places. */
static inline void turn16(__m512i r[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  /* r[4q + e]: in each lane l, column 4l + e of rows 4q … 4q + 3 */
#pragma GCC unroll 4
  for (int e = 0; e < 4; e++) {
    __m512i a = _mm512_shuffle_i32x4(r[e], r[4 + e], 0x88), b = _mm512_shuffle_i32x4(r[8 + e], r[12 + e], 0x88);
    __m512i c = _mm512_shuffle_i32x4(r[e], r[4 + e], 0xDD), d = _mm512_shuffle_i32x4(r[8 + e], r[12 + e], 0xDD);
    t[e] = _mm512_shuffle_i32x4(a, b, 0x88);
    t[8 + e] = _mm512_shuffle_i32x4(a, b, 0xDD);
    t[4 + e] = _mm512_shuffle_i32x4(c, d, 0x88);
    t[12 + e] = _mm512_shuffle_i32x4(c, d, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) r[i] = t[i];
}

void rt_amx_turn(const uint16_t *const pixel[AMX_SIDE], const uint16_t *const next[AMX_SIDE], int64_t c, uint16_t *to,
                 int64_t row) {
  for (int64_t i = 0; i < c; i += 32) {
    __mmask32 some = mask_of(c - i);
    __m512i low[16], high[16]; /* pairs of pixels; of every 8 channels the first and the last four */
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) {
      __m512i a = _mm512_maskz_loadu_epi16(some, pixel[2 * k] + i),
              b = _mm512_maskz_loadu_epi16(some, pixel[2 * k + 1] + i);
      fetch(next[2 * k] + i, next[2 * k + 1] + i);
      low[k] = _mm512_unpacklo_epi16(a, b);
      high[k] = _mm512_unpackhi_epi16(a, b);
    }
    turn16(low);
    turn16(high);
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) {
      uint16_t *first = to + (i + k / 4 * 8 + k % 4) * row;
      _mm512_storeu_si512(first, low[k]);
      _mm512_storeu_si512(first + 4 * row, high[k]);
    }
  }
}

void rt_amx_pair(const uint16_t *const pixel[AMX_SIDE], const uint16_t *const next[AMX_SIDE], int64_t c, uint16_t *to,
                 int64_t panel) {
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  for (int64_t i = 0; i < c; i += 32, to += panel) {
    __mmask32 some = mask_of(c - i);
    for (int k = 0; k < 16; k++) {
      __m512i a = _mm512_maskz_loadu_epi16(some, pixel[2 * k] + i),
              b = _mm512_maskz_loadu_epi16(some, pixel[2 * k + 1] + i);
      fetch(next[2 * k] + i, next[2 * k + 1] + i);
      __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b);
      _mm512_storeu_si512(to + 64 * k, _mm512_permutex2var_epi64(low, first, high));
      _mm512_storeu_si512(to + 64 * k + 32, _mm512_permutex2var_epi64(low, last, high));
    }
  }
}

void rt_amx_product(int64_t steps, const uint16_t *a, int64_t a_row, const uint16_t *b, float *c, int64_t c_row,
                    const float *next) {
  const size_t c_pitch = (size_t)c_row * sizeof *c, a_pitch = (size_t)a_row * sizeof *a;
  float *below = c + 16 * c_row;
  _tile_loadd(0, c, c_pitch);
  _tile_loadd(1, c + 16, c_pitch);
  _tile_loadd(2, below, c_pitch);
  _tile_loadd(3, below + 16, c_pitch);
  for (int64_t s = 0; s < steps; s++, a += AMX_SIDE, b += 16 * 64) {
    if (s < 16) {
      fetch(next + 2 * s * c_row, next + (2 * s + 1) * c_row);
      fetch(next + 2 * s * c_row + 16, next + (2 * s + 1) * c_row + 16);
    }
    _tile_loadd(4, a, a_pitch);
    _tile_loadd(6, b, 128);
    _tile_loadd(7, b + 32, 128);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + 16 * a_row, a_pitch);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, c_pitch);
  _tile_stored(1, c + 16, c_pitch);
  _tile_stored(2, below, c_pitch);
  _tile_stored(3, below + 16, c_pitch);
}
#endif
