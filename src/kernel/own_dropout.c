/* Dropout in row-major order: the draws of rt_uniform, a tile at a time. */
#include "kernel/own.h"

typedef struct job {
  const rt_simd *simd;
  rt_dtype dtype;
  const void *x;
  void *y;
  uint64_t seed, stream, step;
  float rate, scale;
  int64_t n;
} job;

/* Tiles of OWN_TILE elements, so that a draw's block of four never straddles two. */
static void tiles(void *p, int64_t begin, int64_t end) {
  const job *j = p;
  float draw[OWN_TILE], in[OWN_TILE], out[OWN_TILE];
  for (int64_t t = begin; t < end; t++) {
    int64_t first = t * OWN_TILE, n = j->n - first < OWN_TILE ? j->n - first : OWN_TILE;
    j->simd->uniforms(j->seed, j->stream, j->step, (uint64_t)first / 4, draw, (n + 3) / 4);
    const float *x = own_tile(j->simd, j->dtype, j->x, first, n, in);
    float *y = own_tile_begin(j->dtype, j->y, first, out);
    j->simd->dropout(x, draw, y, n, j->rate, j->scale);
    own_tile_end(j->simd, j->dtype, j->y, first, n, y);
  }
}

static rt_status run(const rt_kernel_call *call) {
  float rate = *(const float *)own_in(call, 1);
  if (!(rate >= 0 && rate < 1))
    return rt_fail(RT_E_RANGE, "%s %s: rate is %g; it must be at least 0 and below 1", call->site->op->name,
                   call->site->name, (double)rate);
  job j = {.simd = rt_simd_get(),
           .dtype = call->out->dtype,
           .x = own_in(call, 0),
           .y = call->out->data,
           .seed = (uint64_t) * (const int64_t *)own_in(call, 2),
           .step = (uint64_t) * (const int64_t *)own_in(call, 3),
           .stream = (uint64_t)((const rt_dropout_attr *)call->site->attr)->stream,
           .rate = rate,
           .scale = (float)(1 / (1 - (double)rate)),
           .n = rt_tensor_elements(call->out)};
  rt_parallel_for((j.n + OWN_TILE - 1) / OWN_TILE, OWN_GRAIN / OWN_TILE / 4, tiles, &j);
  return RT_OK;
}

static bool accepts(const rt_site *site) {
  return own_dtype(site->out->dtype) && own_alike(site->in[0], site->out) && site->in[1]->dtype == RT_F32 &&
         (site->out->layout == RT_ROW_MAJOR || rt_layouts_agree(site->out));
}

const rt_kernel rt_kernel_dropout = {"own_dropout", RT_OP(dropout), accepts, NULL, run, NULL};
