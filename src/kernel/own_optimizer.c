/* One parallel loop over the elements of every parameter of the call, shared out evenly whatever their sizes. */
#include "kernel/own.h"

#include <math.h>

/* n_in scalars first; then, for each parameter, `slots` inputs and `slots - 1` outputs: all of them but the gradient. */
typedef struct job {
  const rt_kernel_call *call;
  int scalars, slots;
  const rt_simd *simd;
  const rt_adamw_step *step;
  float lr, momentum, decay;
  bool nesterov;
} job;

static int64_t elements(const rt_site *site, int scalars, int slots) {
  int64_t n = 0;
  for (int i = scalars; i < site->n_in; i += slots) n += rt_type_elements(site->in[i]);
  return n;
}

static void update(const job *j, int parameter, int64_t from, int64_t n) {
  const float *in[4];
  float *out[3];
  for (int i = 0; i < j->slots; i++)
    in[i] = (const float *)j->call->in[j->scalars + parameter * j->slots + i]->data + from;
  for (int i = 0; i < j->slots - 1; i++) out[i] = (float *)j->call->out[parameter * (j->slots - 1) + i].data + from;
  if (j->step)
    j->simd->adamw(in[0], in[1], in[2], in[3], out[0], out[1], out[2], n, j->step);
  else
    j->simd->sgd(in[0], in[1], in[2], out[0], out[1], n, j->lr, j->momentum, j->decay, j->nesterov);
}

static void share(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  const rt_site *site = j->call->site;
  int64_t first = 0; /* of this parameter, among all elements */
  for (int i = j->scalars, parameter = 0; i < site->n_in && first < end; i += j->slots, parameter++) {
    int64_t n = rt_type_elements(site->in[i]), from = begin > first ? begin - first : 0;
    int64_t to = end - first < n ? end - first : n;
    if (from < to) update(j, parameter, from, to - from);
    first += n;
  }
}

static float scalar(const rt_kernel_call *call, int i) { return *(const float *)call->in[i]->data; }

static rt_status run_sgd(const rt_kernel_call *call) {
  const rt_optimizer_attr *attr = call->site->attr;
  job j = {.call = call,
           .scalars = 3,
           .slots = 3,
           .simd = rt_simd_get(),
           .lr = scalar(call, 0),
           .momentum = scalar(call, 1),
           .decay = scalar(call, 2),
           .nesterov = attr->nesterov};
  rt_parallel_for(elements(call->site, 3, 3), OWN_GRAIN, share, &j);
  return RT_OK;
}

static rt_status run_adamw(const rt_kernel_call *call) {
  double lr = (double)scalar(call, 0), beta1 = (double)scalar(call, 1), beta2 = (double)scalar(call, 2);
  double decay = (double)scalar(call, 4), t = (double)scalar(call, 5);
  rt_adamw_step step = {.beta1 = (float)beta1,
                        .beta2 = (float)beta2,
                        .eps = scalar(call, 3),
                        .keep = (float)(1 - lr * decay),
                        .rate = (float)(lr / (1 - pow(beta1, t))),
                        .root = (float)(1 / sqrt(1 - pow(beta2, t)))};
  job j = {.call = call, .scalars = 6, .slots = 4, .simd = rt_simd_get(), .step = &step};
  rt_parallel_for(elements(call->site, 6, 4), OWN_GRAIN, share, &j);
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
