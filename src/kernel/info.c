#include "kernel/kernel.h"
#include "kernel/simd.h"

#include <stdio.h>

#if RT_WITH_DNN
#include "kernel/dnn.h"
#endif

const char *rt_kernel_backend(char *buffer, size_t size) {
#if RT_WITH_DNN
  return dnn_info(buffer, size);
#else
  snprintf(buffer, size, "reference");
  return buffer;
#endif
}

const char *rt_kernel_simd(void) {
  static const char *const names[] = {"baseline", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "avx512_bf16"};
  return names[rt_cpu_get()->isa];
}
