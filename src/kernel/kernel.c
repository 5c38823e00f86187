#include "kernel/kernel.h"

#define KERNEL(name) extern const rt_kernel rt_kernel_##name;
#include "kernel/kernel.def"
#undef KERNEL

static const rt_kernel *const kernels[] = {
#define KERNEL(name) &rt_kernel_##name,
#include "kernel/kernel.def"
#undef KERNEL
};

enum { KERNELS = sizeof kernels / sizeof *kernels };

const rt_kernel *rt_kernel_at(int i) { return i >= 0 && i < KERNELS ? kernels[i] : NULL; }

/* Packs are made before the state that they may point into, and released after it. */
void rt_site_release(rt_site *site, const rt_kernel *kernel) {
  if (kernel && kernel->release && site->state) kernel->release(site->state);
  for (int i = 0; i < site->n_packs; i++)
    if (site->pack[i].release && site->pack[i].state) site->pack[i].release(site->pack[i].state);
  memset(site->pack, 0, sizeof site->pack);
  site->state = NULL;
  site->workspace = 0;
  site->n_packs = 0;
}

/* Fast kernels and the library count dimensions in 32 bits. */
static bool counts_fit(const rt_site *site) {
  bool fit = true;
  for (int i = 0; i < site->n_in + site->n_out; i++) {
    const rt_type *t = i < site->n_in ? site->in[i] : &site->out[i - site->n_in];
    for (int d = 0; t && d < t->rank; d++) fit &= t->dim[d] <= INT32_MAX;
  }
  return fit;
}

rt_status rt_kernel_choose(rt_site *site, rt_kernels policy, const rt_kernel **kernel) {
  *kernel = NULL;
  if (!counts_fit(site)) return RT_OK;
  for (int i = 0; i < KERNELS && policy != RT_KERNELS_REFERENCE; i++) {
    const rt_kernel *k = kernels[i];
    if (k->op != site->op || (k->winograd && policy == RT_KERNELS_DIRECT) || (k->accepts && !k->accepts(site)))
      continue;
    rt_status status = k->prepare ? k->prepare(site) : RT_OK;
    if (status == RT_OK) {
      *kernel = k;
      return RT_OK;
    }
    rt_site_release(site, k);
    if (status != RT_E_UNSUPPORTED) return status;
  }
  return RT_OK;
}
