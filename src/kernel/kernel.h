/* Fast kernels: the table, the choice, and what a plan hands to them.
 *
 * Choice is a pure function of the op, its bound types, the CPU's instruction set in effect and the number of threads.
 * kernel.def lists candidates in order of preference; the first that accepts a site is prepared, and one that turns
 * out not to be able to (RT_E_UNSUPPORTED from prepare) passes the site on. The op row's reference is the last. */
#ifndef RT_KERNEL_KERNEL_H
#define RT_KERNEL_KERNEL_H

#include "op/op.h"

enum { RT_MAX_PACKS = 2 };

/* An input that the kernel wants in a form of its own (blocked weights). The plan makes the packed copy: once and in
 * the prologue where the input is derived from variables that the plan doesn't change, else when it is first needed.
 * Two kernels that want equal packs (same key) of one value share the copy. */
typedef struct rt_pack {
  int input;
  int64_t bytes;
  uint64_t key;    /* says what the form is; 0: not packed */
  rt_dtype source; /* dtype it can also be packed from directly, looking through a cast; else the input's own */
  void *state;
  rt_status (*run)(void *state, const rt_tensor *in, void *out);
  void (*release)(void *state);
} rt_pack;

/* Where a kernel is to run: one node with bound types. in[i] is NULL where an optional input is left out. */
typedef struct rt_site {
  const rt_op *op;
  const void *attr;
  const char *name;
  const rt_type *const *in;
  const rt_type *out;
  int n_in, n_out;
  /* prepare fills these */
  void *state;
  int64_t workspace; /* bytes of the arena, 64-byte aligned, valid only while the kernel runs */
  rt_pack pack[RT_MAX_PACKS];
  int n_packs;
} rt_site;

/* in[i].data of a packed input is the packed copy. Inputs and outputs share memory only where the op row's inplace says
 * they may. */
typedef struct rt_kernel_call {
  const rt_site *site;
  const rt_tensor *const *in;
  const rt_tensor *out;
  void *workspace;
} rt_kernel_call;

typedef struct rt_kernel {
  const char *name;                             /* "dnn_conv2d", "own_batch_norm" */
  const rt_op *op;                              /* the row it serves */
  bool (*accepts)(const rt_site *site);         /* cheap: types, layouts, instruction set; NULL: everything */
  rt_status (*prepare)(rt_site *site);          /* NULL: nothing to prepare */
  rt_status (*run)(const rt_kernel_call *call); /* allocates nothing */
  void (*release)(void *state);
  bool winograd; /* left out where direct kernels are asked for */
} rt_kernel;

/* Prepare a site: sets *kernel to the chosen one, NULL for the op row's reference. */
rt_status rt_kernel_choose(rt_site *site, rt_kernels policy, const rt_kernel **kernel);
void rt_site_release(rt_site *site, const rt_kernel *kernel);

/* Another kernel of the same op may be asked for by name: tests compare each with the reference. */
const rt_kernel *rt_kernel_at(int i); /* NULL past the end */

/* ---- the CPU ---- */

typedef enum rt_isa {
  RT_ISA_BASE,
  RT_ISA_AVX2,
  RT_ISA_AVX512,
  RT_ISA_AVX512_VNNI,
  RT_ISA_AVX512_BF16,
  RT_ISA_AMX
} rt_isa;

typedef struct rt_cpu {
  char brand[64];
  rt_isa isa; /* in effect: what the CPU has, limited by ONEDNN_MAX_CPU_ISA */
  bool bf16, vnni, amx;
  int64_t l1, l2, l3;
} rt_cpu;

/* "oneDNN 3.2.0 (avx512_core_bf16)", or "reference"; and which build of our own loops runs. */
const char *rt_kernel_backend(char *buffer, size_t size);
const char *rt_kernel_simd(void);
/* Winograd convolutions that run here: "F(4×4, 3×3) in fp32, F(2×2, 3×3) in bf16", or "none". */
const char *rt_kernel_winograd_forms(char *buffer, size_t size);

const rt_cpu *rt_cpu_get(void);
const char *rt_isa_name(rt_isa isa);

#endif
