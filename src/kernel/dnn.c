/* oneDNN's engine and stream, its errors, and what it makes of this CPU. */
#include "kernel/dnn.h"

#include "kernel/dnn_program.h"

#include <pthread.h>
#include <stdio.h>

#if defined RT_THREADS_OPENMP
#include <omp.h>
#endif

static const struct {
  dnnl_cpu_isa_t dnnl;
  rt_isa isa;
  const char *name;
} isas[] = {
    {dnnl_cpu_isa_sse41, RT_ISA_BASE, "sse41"},
    {dnnl_cpu_isa_avx, RT_ISA_BASE, "avx"},
    {dnnl_cpu_isa_avx2, RT_ISA_AVX2, "avx2"},
    {dnnl_cpu_isa_avx2_vnni, RT_ISA_AVX2, "avx2_vnni"},
    {dnnl_cpu_isa_avx2_vnni_2, RT_ISA_AVX2, "avx2_vnni_2"},
    {dnnl_cpu_isa_avx512_core, RT_ISA_AVX512, "avx512_core"},
    {dnnl_cpu_isa_avx512_core_vnni, RT_ISA_AVX512_VNNI, "avx512_core_vnni"},
    {dnnl_cpu_isa_avx512_core_bf16, RT_ISA_AVX512_BF16, "avx512_core_bf16"},
    {dnnl_cpu_isa_avx512_core_fp16, RT_ISA_AVX512_BF16, "avx512_core_fp16"},
    {dnnl_cpu_isa_avx512_core_amx, RT_ISA_AMX, "avx512_core_amx"},
    {dnnl_cpu_isa_avx512_core_amx_fp16, RT_ISA_AMX, "avx512_core_amx_fp16"},
};

/* Row of the ISA in effect; 0 for one that this table doesn't know (another architecture's). */
static size_t effective(void) {
  dnnl_cpu_isa_t now = dnnl_get_effective_cpu_isa();
  size_t i = sizeof isas / sizeof *isas;
  while (i > 1 && isas[i - 1].dnnl != now) i--;
  return i - 1;
}

rt_isa dnn_isa(void) { return isas[effective()].isa; }

const char *dnn_info(char *buffer, size_t size) {
  const dnnl_version_t *v = dnnl_version();
  const char *name = dnnl_get_effective_cpu_isa() == dnnl_cpu_isa_default ? "generic" : isas[effective()].name;
  snprintf(buffer, size, "oneDNN %d.%d.%d (%s)", v->major, v->minor, v->patch, name);
  return buffer;
}

rt_status dnn_fail(dnnl_status_t status, const char *what) {
  switch (status) {
  case dnnl_success: return RT_OK;
  case dnnl_out_of_memory: return rt_fail(RT_E_MEMORY, "oneDNN: %s: out of memory", what);
  case dnnl_unimplemented: return rt_fail(RT_E_UNSUPPORTED, "oneDNN: %s: not implemented for these types", what);
  case dnnl_invalid_arguments: return rt_fail(RT_E_INTERNAL, "oneDNN: %s: invalid arguments", what);
  case dnnl_not_required: return rt_fail(RT_E_INTERNAL, "oneDNN: %s: not required", what);
  case dnnl_runtime_error: return rt_fail(RT_E_INTERNAL, "oneDNN: %s: runtime error", what);
  default: return rt_fail(RT_E_INTERNAL, "oneDNN: %s: status %d", what, (int)status);
  }
}

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static dnnl_status_t started;

static void start(void) {
  started = dnnl_engine_create(&engine, dnnl_cpu, 0);
  if (started == dnnl_success) started = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
}

rt_status dnn_start(dnnl_engine_t *out) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, start);
  *out = engine;
  return dnn_fail(started, "engine");
}

dnnl_stream_t dnn_stream(void) { return stream; }

/* A primitive divides its work among the threads there were when it was made, and must find as many when it runs;
 * OpenMP keeps the number per calling thread. */
void dnn_use_threads(int n) {
#if defined RT_THREADS_OPENMP
  if (omp_get_max_threads() != n) omp_set_num_threads(n);
#else
  (void)n;
#endif
}
