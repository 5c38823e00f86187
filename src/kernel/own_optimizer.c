/* One parallel loop over the elements of every parameter of the call, shared out evenly whatever their sizes. */
#include "kernel/own.h"

#include <math.h>

enum { MOST_SLOTS = 4, BLOCK = 1 << 16 };

typedef struct job job;
typedef void update(const job *j, const float *const *in, float *const *out, int64_t n);

/* After the scalars, each parameter has `slots` inputs; its outputs are all of them but the second, the gradient. */
struct job {
  const rt_kernel_call *call;
  int scalars, slots;
  update *update;
  const rt_simd *simd;
  bool nesterov;
  const rt_adamw_step *adamw;
};

static int64_t elements(const rt_site *site, int scalars, int slots) {
  int64_t n = 0;
  for (int i = scalars; i < site->n_in; i += slots) n += rt_type_elements(site->in[i]);
  return n;
}

static void update_part(const job *j, int parameter, int64_t from, int64_t n) {
  const float *in[MOST_SLOTS];
  float *out[MOST_SLOTS];
  for (int i = 0; i < j->slots; i++)
    in[i] = (const float *)j->call->in[j->scalars + parameter * j->slots + i]->data + from;
  for (int i = 0; i < j->slots - 1; i++) out[i] = (float *)j->call->out[parameter * (j->slots - 1) + i].data + from;
  j->update(j, in, out, n);
}

static void share(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const rt_site *site = j->call->site;
  int64_t first = 0; /* of this parameter, among all elements */
  for (int i = j->scalars, parameter = 0; i < site->n_in && first < end; i += j->slots, parameter++) {
    int64_t n = rt_type_elements(site->in[i]), from = begin > first ? begin - first : 0;
    int64_t to = end - first < n ? end - first : n;
    if (from < to) update_part(j, parameter, from, to - from);
    first += n;
  }
}

static rt_status run(job j) {
  j.simd = rt_simd_get();
  rt_parallel_for(elements(j.call->site, j.scalars, j.slots), OWN_GRAIN, share, &j);
  return RT_OK;
}

static float scalar(const rt_kernel_call *call, int i) { return *(const float *)call->in[i]->data; }

/* No step: outputs are what the inputs were, and mostly are the inputs. */
static void keep(const job *j, const float *const *in, float *const *out, int64_t n) {
  for (int i = 0; i < j->slots - 1; i++) {
    const float *from = in[i ? i + 1 : 0];
    if (out[i] != from) memcpy(out[i], from, (size_t)n * sizeof *from);
  }
}

static void update_sgd(const job *j, const float *const *in, float *const *out, int64_t n) {
  float lr = scalar(j->call, 0), momentum = scalar(j->call, 1), decay = scalar(j->call, 2), scale = scalar(j->call, 3);
  j->simd->sgd(in[0], in[1], in[2], out[0], out[1], n, lr, momentum, decay, scale, j->nesterov);
}

static rt_status run_sgd(const rt_kernel_call *call) {
  const rt_optimizer_attr *attr = call->site->attr;
  return run((job){.call = call,
                   .scalars = 4,
                   .slots = 3,
                   .update = scalar(call, 3) == 0 ? keep : update_sgd,
                   .nesterov = attr->nesterov});
}

static void update_adamw(const job *j, const float *const *in, float *const *out, int64_t n) {
  j->simd->adamw(in[0], in[1], in[2], in[3], out[0], out[1], out[2], n, j->adamw);
}

static rt_status run_adamw(const rt_kernel_call *call) {
  double lr = (double)scalar(call, 0), beta1 = (double)scalar(call, 1), beta2 = (double)scalar(call, 2);
  double decay = (double)scalar(call, 4), t = (double)scalar(call, 5);
  rt_adamw_step step = {.beta1 = (float)beta1,
                        .beta2 = (float)beta2,
                        .eps = scalar(call, 3),
                        .keep = (float)(1 - lr * decay),
                        .rate = (float)(lr / (1 - pow(beta1, t))),
                        .root = (float)(1 / sqrt(1 - pow(beta2, t))),
                        .scale = scalar(call, 6)};
  return run(
      (job){.call = call, .scalars = 7, .slots = 4, .update = step.scale == 0 ? keep : update_adamw, .adamw = &step});
}

static void update_blend(const job *j, const float *const *in, float *const *out, int64_t n) {
  j->simd->blend(in[0], in[1], out[0], n, scalar(j->call, 0), scalar(j->call, 1));
}

static rt_status run_blend(const rt_kernel_call *call) {
  bool idle = scalar(call, 0) == 1 && scalar(call, 1) == 0;
  return run((job){.call = call, .scalars = 2, .slots = 2, .update = idle ? keep : update_blend});
}

/* ---- global_norm: blocks leave partial sums that are added up in order ---- */

typedef struct squares {
  const rt_kernel_call *call;
  const rt_simd *simd;
  int64_t elements;
  double *part;
} squares;

static void sum_block(const squares *s, int64_t block) {
  int64_t begin = block * BLOCK, end = begin + BLOCK < s->elements ? begin + BLOCK : s->elements, first = 0;
  s->part[block] = 0;
  for (int i = 0; i < s->call->site->n_in && first < end; i++) {
    int64_t n = rt_type_elements(s->call->site->in[i]), from = begin > first ? begin - first : 0;
    int64_t to = end - first < n ? end - first : n;
    double sum = 0;
    if (from < to) s->simd->sum_squares((const float *)s->call->in[i]->data + from, to - from, &sum);
    s->part[block] += sum;
    first += n;
  }
}

static void sum_blocks(void *p, int64_t begin, int64_t end) {
  for (int64_t block = begin; block < end; block++) sum_block(p, block);
}

static int64_t blocks_of(const rt_site *site) { return (elements(site, 0, 1) + BLOCK - 1) / BLOCK; }

static rt_status prepare_norm(rt_site *site) {
  site->workspace = blocks_of(site) * (int64_t)sizeof(double);
  return RT_OK;
}

static rt_status run_norm(const rt_kernel_call *call) {
  squares s = {call, rt_simd_get(), elements(call->site, 0, 1), call->workspace};
  int64_t blocks = blocks_of(call->site);
  double sum = 0;
  rt_parallel_for(blocks, 1, sum_blocks, &s);
  for (int64_t i = 0; i < blocks; i++) sum += s.part[i];
  *(float *)call->out->data = (float)sqrt(sum);
  return RT_OK;
}

static bool accepts(const rt_site *site) {
  for (int i = 0; i < site->n_in; i++)
    if (site->in[i]->dtype != RT_F32 || (site->in[i]->layout != RT_ROW_MAJOR && !rt_layouts_agree(site->in[i])))
      return false;
  return true;
}

const rt_kernel rt_kernel_sgd = {"own_sgd", RT_OP(sgd), accepts, NULL, run_sgd, NULL};
const rt_kernel rt_kernel_adamw = {"own_adamw", RT_OP(adamw), accepts, NULL, run_adamw, NULL};
const rt_kernel rt_kernel_blend = {"own_blend", RT_OP(blend), accepts, NULL, run_blend, NULL};
const rt_kernel rt_kernel_global_norm = {"own_global_norm", RT_OP(global_norm), accepts, prepare_norm, run_norm, NULL};
