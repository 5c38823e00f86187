/* What the public header says of the machine and of the library itself. */
#include "base/alloc.h"
#include "base/memory.h"
#include "kernel/kernel.h"

#include <stdio.h>

const char *rt_version(void) { return RT_VERSION; }

void rt_machine_info(rt_machine *out) {
  const rt_cpu *cpu = rt_cpu_get();
  *out = (rt_machine){.isa = rt_isa_name(cpu->isa),
                      .simd = rt_kernel_simd(),
                      .bf16 = cpu->bf16,
                      .vnni = cpu->vnni,
                      .amx = cpu->amx,
                      .l1 = cpu->l1,
                      .l2 = cpu->l2,
                      .l3 = cpu->l3,
                      .memory = rt_memory_available()};
  rt_kernel_backend(out->backend, sizeof out->backend);
  rt_kernel_winograd_forms(out->winograd, sizeof out->winograd);
  snprintf(out->cpu, sizeof out->cpu, "%s", cpu->brand);
}

void rt_heap_counts(int64_t *calls, int64_t *live) {
  rt_alloc_counts c = rt_alloc_count();
  *calls = c.calls;
  *live = c.live;
}
