/* Weights in the form that a primitive wants: a reorder from the row-major tensor, in its own dtype or, where that is
 * bf16, also straight from the f32 master. */
#include "kernel/dnn_program.h"

#include "base/alloc.h"
#include "base/rng.h"

enum { SOURCES = 2 };

typedef struct source {
  rt_dtype dtype;
  dnnl_memory_t memory;
  dnnl_primitive_t reorder;
} source;

typedef struct packing {
  source source[SOURCES];
  int n;
  int threads;
  dnnl_memory_t packed;
} packing;

static void release(void *state) {
  packing *k = state;
  for (int i = 0; i < k->n; i++) {
    if (k->source[i].reorder) dnnl_primitive_destroy(k->source[i].reorder);
    if (k->source[i].memory) dnnl_memory_destroy(k->source[i].memory);
  }
  if (k->packed) dnnl_memory_destroy(k->packed);
  rt_free(k);
}

static rt_status run(void *state, const rt_tensor *in, void *out) {
  const packing *k = state;
  const source *s = k->source;
  while (s < k->source + k->n && s->dtype != in->dtype) s++;
  if (s == k->source + k->n) return rt_fail(RT_E_INTERNAL, "oneDNN: weights packed from %s", rt_dtype_name(in->dtype));
  dnn_use_threads(k->threads);
  const dnnl_exec_arg_t arg[] = {{DNNL_ARG_FROM, s->memory}, {DNNL_ARG_TO, k->packed}};
  dnnl_status_t status = dnnl_memory_set_data_handle(s->memory, in->data);
  if (status == dnnl_success) status = dnnl_memory_set_data_handle(k->packed, out);
  if (status == dnnl_success) status = dnnl_primitive_execute(s->reorder, dnn_stream(), 2, arg);
  if (status == dnnl_success) status = dnnl_stream_wait(dnn_stream());
  return dnn_fail(status, "packing of weights");
}

/* The library's own scratchpad: reorders of weights hardly need one, and packing has no workspace. */
static void add_source(dnn_program *p, packing *k, rt_dtype dtype, dnn_shape shape, const_dnnl_memory_desc_t wanted) {
  dnnl_engine_t engine = dnn_engine(p);
  const_dnnl_memory_desc_t md = dnn_md(p, dtype, shape);
  if (dnn_failed(p)) return;
  source *s = &k->source[k->n++];
  s->dtype = dtype;
  dnnl_primitive_desc_t pd = NULL;
  dnn_check(p, dnnl_reorder_primitive_desc_create(&pd, md, engine, wanted, engine, NULL), "packing of weights");
  if ((pd = dnn_keep(p, pd))) dnn_check(p, dnnl_primitive_create(&s->reorder, pd), "packing of weights");
  if (pd) dnn_check(p, dnnl_memory_create(&s->memory, md, engine, DNNL_MEMORY_NONE), "memory");
}

/* Everything that says where an element of the row-major tensor goes; 0 for a form that oneDNN keeps to itself. */
static uint64_t form(const dnn_shape *shape, const_dnnl_memory_desc_t md) {
  uint64_t h = RT_HASH_EMPTY;
  dnnl_format_kind_t kind;
  dnnl_data_type_t dtype;
  dnnl_dims_t *padded, *stride, *block, *block_axis;
  int32_t blocks;
  size_t bytes = dnnl_memory_desc_get_size(md), dims = (size_t)shape->rank * sizeof(dnnl_dim_t);
  if (dnnl_memory_desc_query(md, dnnl_query_format_kind, &kind) || kind != dnnl_blocked ||
      dnnl_memory_desc_query(md, dnnl_query_data_type, &dtype) ||
      dnnl_memory_desc_query(md, dnnl_query_padded_dims, &padded) ||
      dnnl_memory_desc_query(md, dnnl_query_strides, &stride) ||
      dnnl_memory_desc_query(md, dnnl_query_inner_nblks_s32, &blocks) ||
      dnnl_memory_desc_query(md, dnnl_query_inner_blks, &block) ||
      dnnl_memory_desc_query(md, dnnl_query_inner_idxs, &block_axis))
    return 0;
  h = rt_hash(rt_hash(rt_hash(h, shape->dim, dims), shape->stride, dims), &bytes, sizeof bytes);
  h = rt_hash(rt_hash(rt_hash(h, *padded, dims), *stride, dims), &dtype, sizeof dtype);
  h = rt_hash(rt_hash(h, *block, (size_t)blocks * sizeof **block), *block_axis, (size_t)blocks * sizeof **block_axis);
  return h | 1;
}

static packing *packing_new(dnn_program *p, rt_dtype dtype, dnn_shape shape, const_dnnl_memory_desc_t md) {
  packing *k = rt_alloc(sizeof *k);
  if (!k) {
    dnn_check(p, dnnl_out_of_memory, "packing of weights");
    return NULL;
  }
  k->threads = rt_threads();
  add_source(p, k, dtype, shape, md);
  if (dtype == RT_BF16) add_source(p, k, RT_F32, shape, md);
  dnn_check(p, dnnl_memory_create(&k->packed, md, dnn_engine(p), DNNL_MEMORY_NONE), "memory");
  return k;
}

int dnn_weights(dnn_program *p, rt_site *site, int i, dnn_shape shape, const_dnnl_memory_desc_t md) {
  rt_dtype dtype = site->in[i]->dtype;
  const_dnnl_memory_desc_t plain = dnn_md(p, dtype, shape);
  if (dnn_failed(p) || dnnl_memory_desc_equal(plain, md)) return dnn_input(p, i, plain);
  uint64_t key = form(&shape, md);
  if (!key && !dnn_check(p, dnnl_unimplemented, "weights in a form that can't be named")) return -1;
  packing *k = packing_new(p, dtype, shape, md);
  if (!k) return -1;
  site->pack[site->n_packs++] = (rt_pack){.input = i,
                                          .bytes = (int64_t)dnnl_memory_desc_get_size(md),
                                          .key = key,
                                          .source = RT_F32,
                                          .state = k,
                                          .run = run,
                                          .release = release};
  return dnn_input(p, i, md);
}
