/* Products on AMX's tile registers, bf16. Defined on x86-64 only; to be called only where rt_amx_start says so. */
#ifndef RT_KERNEL_AMX_H
#define RT_KERNEL_AMX_H

#include <stdbool.h>
#include <stdint.h>

enum { AMX_SIDE = 32 }; /* of a block of results; and consecutive k of one step */

/* Ask the operating system for the registers, for all threads of the process. */
bool rt_amx_start(void);
/* Around products, on the thread that makes them. */
void rt_amx_begin(void);
void rt_amx_end(void);

/* The c channels of 32 pixels, turned: to[i·row + k] is channel i of pixel k. Writes whole blocks of 32 channels. next: the
 * pixels that will be asked for next. */
void rt_amx_turn(const uint16_t *const pixel[AMX_SIDE], const uint16_t *const next[AMX_SIDE], int64_t c, uint16_t *to,
                 int64_t row);
/* The same in pairs of pixels: to[i/32·panel + k/2·64 + i%32·2 + k%2]. */
void rt_amx_pair(const uint16_t *const pixel[AMX_SIDE], const uint16_t *const next[AMX_SIDE], int64_t c, uint16_t *to,
                 int64_t panel);

/* C (32×32) += Σ_k A[r·a_row + k] B[k/2·64 + j·2 + k%2], k < 32·steps; next: the C that will be asked for next */
void rt_amx_product(int64_t steps, const uint16_t *a, int64_t a_row, const uint16_t *b, float *c, int64_t c_row,
                    const float *next);

#endif
