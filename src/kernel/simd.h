/* Inner loops, compiled once per instruction set and chosen at run time. A file simd_X.c is compiled with -DRT_ISA=base,
 * avx2, …; its functions are named name_dtype_isa (simd_isa.h) and listed in simd.def. */
#ifndef RT_KERNEL_SIMD_H
#define RT_KERNEL_SIMD_H

#include <stdbool.h>
#include <stdint.h>

/* w = keep w - rate m / (sqrt(v) root + eps), with both bias corrections in rate and root; g counts scale times. */
typedef struct rt_adamw_step {
  float beta1, beta2, eps, keep, rate, root, scale;
} rt_adamw_step;

/* Levels low … high; level q is scale (q - zero). */
typedef struct rt_fake_grid {
  float scale, zero, low, high;
} rt_fake_grid;

/* How a Winograd convolution in int8 ends, see op/conv2d_winograd_int8.c: numbers of a panel's filters, `plane` of them a
 * tap in `factor`. */
typedef struct rt_winograd_int8_end {
  const float *factor, *constant, *scale, *bias;
  int64_t plane;
  float residual_scale, high;
  bool relu, f32;
} rt_winograd_int8_end;

typedef struct rt_simd {
#define LOOP(name, parameters) void(*name) parameters;
#define LOOPS(name, parameters) void(*name[2]) parameters;
#include "kernel/simd.def"
#undef LOOP
#undef LOOPS
} rt_simd;

/* For the instruction set in effect (rt_cpu_get). */
const rt_simd *rt_simd_get(void);

#endif
