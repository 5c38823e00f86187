#include "kernel/simd.h"

#include "kernel/kernel.h"

extern const rt_simd rt_simd_base;
#if defined __x86_64__
extern const rt_simd rt_simd_avx2, rt_simd_avx512, rt_simd_avx512vnni, rt_simd_avx512bf16;
#endif

const rt_simd *rt_simd_get(void) {
  switch (rt_cpu_get()->isa) {
#if defined __x86_64__
  case RT_ISA_AMX:
  case RT_ISA_AVX512_BF16: return &rt_simd_avx512bf16;
  case RT_ISA_AVX512_VNNI: return &rt_simd_avx512vnni;
  case RT_ISA_AVX512: return &rt_simd_avx512;
  case RT_ISA_AVX2: return &rt_simd_avx2;
#endif
  default: return &rt_simd_base;
  }
}
