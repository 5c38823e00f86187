/* The table of this instruction set. */
#include "kernel/simd_isa.h"

#define LOOP(name, parameters) .name = RT_NAME(name),
#define LOOPS(name, parameters) .name = {[RT_F32] = RT_NAME(name##_f32), [RT_BF16] = RT_NAME(name##_bf16)},

extern const rt_simd RT_NAME(simd);
const rt_simd RT_NAME(simd) = {
#include "kernel/simd.def"
};
