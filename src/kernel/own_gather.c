/* gather and embedding: rows copied by index; embedding's gradient adds them up, each thread in its own columns. */
#include "kernel/own.h"

#include "op/row.h"

typedef struct job {
  const rt_simd *simd;
  rt_dtype dtype;
  int64_t outer, size, inner, n; /* x: outer × size × inner, y: outer × n × inner */
  const rt_tensor *index;
  const char *x;
  char *y;
  float *sum;
  int64_t skip;
  int64_t bytes; /* of inner elements */
} job;

static int64_t id_at(const rt_tensor *index, int64_t j) {
  return index->dtype == RT_S64 ? ((const int64_t *)index->data)[j] : ((const int32_t *)index->data)[j];
}

static rt_status check_range(const rt_kernel_call *call, const job *g) {
  for (int64_t j = 0; j < g->n; j++) {
    int64_t id = id_at(g->index, j);
    if (id < 0 || id >= g->size)
      return rt_fail(RT_E_RANGE, "%s %s: index %lld, element %lld of %lld, is outside 0 to %lld", call->site->op->name,
                     call->site->name, (long long)id, (long long)j, (long long)g->n, (long long)g->size - 1);
  }
  return RT_OK;
}

static job job_of(const rt_kernel_call *call, const rt_type *x, int axis) {
  job g = {.simd = rt_simd_get(),
           .dtype = call->in[0]->dtype,
           .outer = 1,
           .size = x->dim[axis],
           .inner = 1,
           .index = call->in[1],
           .n = rt_tensor_elements(call->in[1]),
           .x = own_in(call, 0),
           .y = call->out->data};
  for (int d = 0; d < axis; d++) g.outer *= x->dim[d];
  for (int d = axis + 1; d < x->rank; d++) g.inner *= x->dim[d];
  g.bytes = g.inner * (int64_t)rt_dtype_size(x->dtype);
  return g;
}

static void take(void *p, int64_t begin, int64_t end) {
  const job *g = p;
  for (int64_t u = begin; u < end; u++)
    memcpy(g->y + u * g->bytes, g->x + (u / g->n * g->size + id_at(g->index, u % g->n)) * g->bytes, (size_t)g->bytes);
}

static rt_status run_take(const rt_kernel_call *call, int axis) {
  job g = job_of(call, call->site->in[0], axis);
  rt_status status = check_range(call, &g);
  if (status == RT_OK) rt_parallel_for(g.outer * g.n, 1 + OWN_GRAIN / g.inner, take, &g);
  return status;
}

static rt_status run_gather(const rt_kernel_call *call) {
  return run_take(call, rt_axis(((const rt_axis_attr *)call->site->attr)->axis, call->in[0]->rank));
}

static rt_status run_embedding(const rt_kernel_call *call) { return run_take(call, 0); }

static void add_columns(void *p, int64_t begin, int64_t end) {
  const job *g = p;
  for (int64_t row = 0; row < g->size; row++)
    memset(g->sum + row * g->inner + begin, 0, (size_t)(end - begin) * sizeof(float));
  for (int64_t j = 0; j < g->n; j++) {
    int64_t id = id_at(g->index, j);
    if (id == g->skip) continue;
    g->simd->accumulate[g->dtype](own_at(g->x, g->dtype, j * g->inner + begin), end - begin, 1,
                                  g->sum + id * g->inner + begin);
  }
}

static rt_status run_embedding_backward(const rt_kernel_call *call) {
  job g = job_of(call, call->site->in[2], 0);
  rt_status status = check_range(call, &g);
  g.sum = call->out->data;
  g.skip = ((const rt_embedding_attr *)call->site->attr)->padding_idx;
  if (status == RT_OK) rt_parallel_for(g.inner, 32 + OWN_GRAIN / (g.n + g.size), add_columns, &g);
  return status;
}

static bool row_major(const rt_type *t) { return t->layout == RT_ROW_MAJOR || rt_layouts_agree(t); }

static bool accepts(const rt_site *site) {
  for (int i = 0; i < site->n_in; i++)
    if (!row_major(site->in[i])) return false;
  return row_major(site->out);
}

static bool accepts_backward(const rt_site *site) {
  return accepts(site) && own_dtype(site->in[0]->dtype) && site->out->dtype == RT_F32;
}

const rt_kernel rt_kernel_gather = {"own_gather", RT_OP(gather), accepts, NULL, run_gather, NULL};
const rt_kernel rt_kernel_embedding = {"own_embedding", RT_OP(embedding), accepts, NULL, run_embedding, NULL};
const rt_kernel rt_kernel_embedding_backward = {
    "own_embedding_backward", RT_OP(embedding_backward), accepts_backward, NULL, run_embedding_backward, NULL};
