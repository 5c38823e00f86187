/* What the CPU can do, and how much of it is in effect. */
#include "kernel/kernel.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#if defined __x86_64__
#include <cpuid.h>
#endif
#if defined RT_WITH_DNN
#include "kernel/dnn.h"
#endif

const char *rt_isa_name(rt_isa isa) {
  static const char *const names[] = {"base", "avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx"};
  return names[isa];
}

#if defined __x86_64__

typedef struct features {
  unsigned a, b, c, d;
} features;

static features leaf(unsigned number, unsigned sub) {
  features f = {0, 0, 0, 0};
  __get_cpuid_count(number, sub, &f.a, &f.b, &f.c, &f.d);
  return f;
}

static bool all(unsigned word, unsigned bits) { return (word & bits) == bits; }

/* State that the operating system saves: without it instructions fault whatever CPUID says. */
static uint64_t saved_state(void) {
  if (!all(leaf(1, 0).c, bit_OSXSAVE)) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static rt_isa detect(void) {
  const unsigned osxsave_state = 6, avx512_state = 0xE6, amx_state = 0x60000;
  features one = leaf(1, 0), seven = leaf(7, 0), more = leaf(7, 1), extended = leaf(0x80000001, 0);
  unsigned state = (unsigned)saved_state();
  if (!all(state, osxsave_state) || !all(one.c, bit_AVX | bit_FMA | bit_F16C | bit_MOVBE) ||
      !all(extended.c, bit_LZCNT) || !all(seven.b, bit_AVX2 | bit_BMI | bit_BMI2))
    return RT_ISA_BASE;
  if (!all(state, avx512_state) ||
      !all(seven.b, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL))
    return RT_ISA_AVX2;
  if (!all(seven.c, bit_AVX512VNNI)) return RT_ISA_AVX512;
  if (!all(more.a, bit_AVX512BF16)) return RT_ISA_AVX512_VNNI;
  if (!all(state, amx_state) || !all(seven.d, bit_AMX_TILE | bit_AMX_INT8 | bit_AMX_BF16)) return RT_ISA_AVX512_BF16;
  return RT_ISA_AMX;
}

static void read_brand(char brand[64]) {
  if (leaf(0x80000000, 0).a < 0x80000004) return;
  for (unsigned i = 0; i < 3; i++) {
    features f = leaf(0x80000002 + i, 0);
    memcpy(brand + 16 * i, &f, 16);
  }
}

#else

static rt_isa detect(void) { return RT_ISA_BASE; }
static void read_brand(char brand[64]) { (void)brand; }

#endif

/* oneDNN's own limit where it is there, so that both use the same instructions; else the variable that it reads. */
static rt_isa limit(void) {
#if defined RT_WITH_DNN
  return dnn_isa();
#else
  static const struct {
    const char *name;
    rt_isa isa;
  } limits[] = {
      {"SSE41", RT_ISA_BASE},
      {"AVX", RT_ISA_BASE},
      {"AVX2", RT_ISA_AVX2},
      {"AVX2_VNNI", RT_ISA_AVX2},
      {"AVX2_VNNI_2", RT_ISA_AVX2},
      {"AVX512_CORE", RT_ISA_AVX512},
      {"AVX512_CORE_VNNI", RT_ISA_AVX512_VNNI},
      {"AVX512_CORE_BF16", RT_ISA_AVX512_BF16},
      {"AVX512_CORE_FP16", RT_ISA_AVX512_BF16},
  };
  const char *value = getenv("ONEDNN_MAX_CPU_ISA");
  for (size_t i = 0; value && i < sizeof limits / sizeof *limits; i++)
    if (strcmp(value, limits[i].name) == 0) return limits[i].isa;
  return RT_ISA_AMX;
#endif
}

static int64_t cache_size(int name, int64_t otherwise) {
  long bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

static rt_cpu cpu;

static void read_cpu(void) {
  rt_isa has = detect(), most = limit();
  read_brand(cpu.brand);
  cpu.isa = has < most ? has : most;
  cpu.vnni = cpu.isa >= RT_ISA_AVX512_VNNI;
  cpu.bf16 = cpu.isa >= RT_ISA_AVX512_BF16;
  cpu.amx = cpu.isa >= RT_ISA_AMX;
  cpu.l1 = cache_size(_SC_LEVEL1_DCACHE_SIZE, 32 << 10);
  cpu.l2 = cache_size(_SC_LEVEL2_CACHE_SIZE, 512 << 10);
  cpu.l3 = cache_size(_SC_LEVEL3_CACHE_SIZE, 4 << 20);
}

const rt_cpu *rt_cpu_get(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, read_cpu);
  return &cpu;
}
