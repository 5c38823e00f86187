#include "kernel/dnn_program.h"

#include "base/alloc.h"
#include "base/thread.h"
#include "kernel/dnn.h"

enum { SLOTS = 16, STEPS = 8, OWNED = 32, ALIGNMENT = 64 };

typedef enum place { INPUT, OUTPUT, TEMPORARY, SCRATCH } place;

typedef struct slot {
  place place;
  int index;      /* of the input or output */
  int64_t offset; /* of a temporary */
  dnnl_memory_t memory;
} slot;

typedef struct step {
  dnnl_primitive_t primitive; /* NULL: fill slot `to` with zeros */
  int from, to;               /* of a reorder, else -1 */
  dnnl_exec_arg_t arg[DNN_ARGS + 1];
  int n;
} step;

struct dnn_program {
  rt_status status; /* the first failure */
  dnnl_engine_t engine;
  int threads;
  int n_slots, n_steps, n_mds, n_pds, n_attrs;
  slot slot[SLOTS];
  step step[STEPS];
  int64_t temporary_bytes, scratch_bytes; /* scratch is shared: one step runs at a time */
  dnnl_memory_desc_t md[OWNED];
  dnnl_primitive_desc_t pd[OWNED];
  dnnl_primitive_attr_t attr[OWNED];
};

/* ---- shapes and types ---- */

static dnn_shape shape_of(const rt_type *type, rt_layout layout) {
  rt_type t = *type;
  t.layout = layout;
  rt_tensor view = rt_tensor_view(&t, NULL);
  dnn_shape s = {.rank = t.rank};
  memcpy(s.dim, view.dim, sizeof view.dim);
  memcpy(s.stride, view.stride, sizeof view.stride);
  return s;
}

bool dnn_is_channels_last(const rt_type *t) {
  return t->rank == 4 && (t->layout == RT_CHANNELS_LAST || rt_layouts_agree(t));
}

bool dnn_is_row_major(const rt_type *t) { return t->layout == RT_ROW_MAJOR || rt_layouts_agree(t); }

dnn_shape dnn_shape_of(const rt_type *t) {
  return shape_of(t, dnn_is_channels_last(t) ? RT_CHANNELS_LAST : RT_ROW_MAJOR);
}

dnn_shape dnn_channels_last(const rt_type *t) { return shape_of(t, RT_CHANNELS_LAST); }
dnn_shape dnn_row_major(const rt_type *t) { return shape_of(t, RT_ROW_MAJOR); }

dnn_shape dnn_grouped(const rt_type *w, int64_t groups) {
  if (groups == 1) return dnn_row_major(w);
  const rt_dim dim[] = {groups, w->dim[0] / groups, w->dim[1], w->dim[2], w->dim[3]};
  rt_type t = rt_type_of(w->dtype, 5, dim);
  return dnn_row_major(&t);
}

dnn_shape dnn_matrix(int64_t rows, int64_t columns) { return (dnn_shape){2, {rows, columns}, {columns, 1}}; }

dnn_shape dnn_transposed(dnn_shape s) {
  dnn_shape t = s;
  for (int i = 1; i <= 2; i++) {
    t.dim[s.rank - i] = s.dim[s.rank - 3 + i];
    t.stride[s.rank - i] = s.stride[s.rank - 3 + i];
  }
  return t;
}

bool dnn_accepts(const rt_type *t) {
  return rt_type_bytes(t) > 0 && (t->dtype == RT_F32 || (t->dtype == RT_BF16 && dnn_isa() >= RT_ISA_AVX512_BF16));
}

const rt_type *dnn_optional(const rt_site *site, int i) { return i < site->n_in ? site->in[i] : NULL; }

static dnnl_data_type_t data_type(rt_dtype dtype) {
  return dtype == RT_BF16 ? dnnl_bf16 : dtype == RT_U8 ? dnnl_u8 : dtype == RT_S8 ? dnnl_s8 : dnnl_f32;
}

/* ---- building ---- */

dnn_program *dnn_program_new(void) {
  dnn_program *p = rt_alloc(sizeof *p);
  if (!p) return NULL;
  p->status = dnn_start(&p->engine);
  p->threads = rt_threads();
  dnn_use_threads(p->threads);
  return p;
}

dnnl_engine_t dnn_engine(const dnn_program *p) { return p->engine; }

bool dnn_failed(const dnn_program *p) { return p->status != RT_OK; }

bool dnn_check(dnn_program *p, dnnl_status_t status, const char *what) {
  if (p->status == RT_OK) p->status = dnn_fail(status, what);
  return p->status == RT_OK;
}

/* Tables are sized for the programs there are; false, and an error, when one of them has outgrown its table. */
static bool room(dnn_program *p, int n, int most) {
  if (p->status == RT_OK && n >= most)
    p->status = rt_fail(RT_E_INTERNAL, "oneDNN: a program of more than %d parts", most);
  return p->status == RT_OK;
}

const_dnnl_memory_desc_t dnn_md(dnn_program *p, rt_dtype dtype, dnn_shape s) {
  if (!room(p, p->n_mds, OWNED)) return NULL;
  dnnl_memory_desc_t *md = &p->md[p->n_mds];
  if (!dnn_check(p, dnnl_memory_desc_create_with_strides(md, s.rank, s.dim, data_type(dtype), s.stride), "memory"))
    return NULL;
  return p->md[p->n_mds++];
}

const_dnnl_memory_desc_t dnn_md_any(dnn_program *p, rt_dtype dtype, dnn_shape s) {
  if (!room(p, p->n_mds, OWNED)) return NULL;
  dnnl_memory_desc_t *md = &p->md[p->n_mds];
  if (!dnn_check(p, dnnl_memory_desc_create_with_tag(md, s.rank, s.dim, data_type(dtype), dnnl_format_tag_any),
                 "memory"))
    return NULL;
  return p->md[p->n_mds++];
}

const_dnnl_memory_desc_t dnn_wanted(dnn_program *p, dnnl_primitive_desc_t pd, dnnl_query_t what) {
  return dnn_failed(p) ? NULL : dnnl_primitive_desc_query_md(pd, what, 0);
}

dnnl_primitive_attr_t dnn_attr(dnn_program *p, bool sum, bool relu) {
  if (!room(p, p->n_attrs, OWNED)) return NULL;
  dnnl_primitive_attr_t attr;
  if (!dnn_check(p, dnnl_primitive_attr_create(&attr), "attributes")) return NULL;
  p->attr[p->n_attrs++] = attr;
  dnn_check(p, dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), "scratchpad mode");
  dnn_check(p, dnnl_primitive_attr_set_fpmath_mode(attr, dnnl_fpmath_mode_strict), "arithmetic mode");
  if (dnn_failed(p) || (!sum && !relu)) return attr;
  dnnl_post_ops_t ops;
  if (!dnn_check(p, dnnl_post_ops_create(&ops), "post-ops")) return NULL;
  if (sum) dnn_check(p, dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef), "sum");
  if (relu) dnn_check(p, dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0), "relu");
  dnn_check(p, dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
  dnnl_post_ops_destroy(ops);
  return attr;
}

dnnl_primitive_desc_t dnn_keep(dnn_program *p, dnnl_primitive_desc_t pd) {
  if (!pd) return NULL;
  if (room(p, p->n_pds, OWNED)) return p->pd[p->n_pds++] = pd;
  dnnl_primitive_desc_destroy(pd);
  return NULL;
}

static int add_slot(dnn_program *p, slot s, const_dnnl_memory_desc_t md) {
  if (!md || !room(p, p->n_slots, SLOTS)) return -1;
  if (!dnn_check(p, dnnl_memory_create(&s.memory, md, p->engine, DNNL_MEMORY_NONE), "memory")) return -1;
  p->slot[p->n_slots] = s;
  return p->n_slots++;
}

int dnn_input(dnn_program *p, int i, const_dnnl_memory_desc_t md) { return add_slot(p, (slot){INPUT, i, 0, NULL}, md); }
int dnn_output(dnn_program *p, int i, const_dnnl_memory_desc_t md) {
  return add_slot(p, (slot){OUTPUT, i, 0, NULL}, md);
}

static int64_t aligned(size_t bytes) { return (int64_t)((bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT); }

int dnn_temporary(dnn_program *p, const_dnnl_memory_desc_t md) {
  if (!md) return -1;
  int64_t offset = p->temporary_bytes;
  p->temporary_bytes += aligned(dnnl_memory_desc_get_size(md));
  return add_slot(p, (slot){TEMPORARY, 0, offset, NULL}, md);
}

int dnn_view(dnn_program *p, int i, const_dnnl_memory_desc_t md) { return i < 0 ? -1 : add_slot(p, p->slot[i], md); }

static const_dnnl_memory_desc_t md_of(dnn_program *p, int i) {
  const_dnnl_memory_desc_t md = NULL;
  if (i >= 0) dnn_check(p, dnnl_memory_get_memory_desc(p->slot[i].memory, &md), "memory");
  return md;
}

int dnn_staged(dnn_program *p, int i, const_dnnl_memory_desc_t md) {
  if (dnn_failed(p) || dnnl_memory_desc_equal(md_of(p, i), md)) return i;
  return dnn_temporary(p, md);
}

int dnn_converted(dnn_program *p, int i, const_dnnl_memory_desc_t md) {
  int to = dnn_staged(p, i, md);
  dnn_reorder(p, i, to);
  return to;
}

/* ---- steps ---- */

static int add_scratch(dnn_program *p, const_dnnl_memory_desc_t md) {
  int64_t bytes = aligned(dnnl_memory_desc_get_size(md));
  if (bytes > p->scratch_bytes) p->scratch_bytes = bytes;
  return add_slot(p, (slot){SCRATCH, 0, 0, NULL}, md);
}

static step *add_step(dnn_program *p, dnnl_primitive_desc_t pd, const dnn_arg *arg, int n) {
  if (!room(p, p->n_steps, STEPS)) return NULL;
  step *s = &p->step[p->n_steps++];
  s->from = s->to = -1;
  if (!pd) return s;
  if (!dnn_check(p, dnnl_primitive_create(&s->primitive, pd), "primitive")) return NULL;
  for (int i = 0; i < n; i++)
    if (arg[i].slot >= 0) s->arg[s->n++] = (dnnl_exec_arg_t){arg[i].name, p->slot[arg[i].slot].memory};
  const_dnnl_memory_desc_t md = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
  int scratch = md && dnnl_memory_desc_get_size(md) ? add_scratch(p, md) : -1;
  if (scratch >= 0) s->arg[s->n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, p->slot[scratch].memory};
  return s;
}

void dnn_execute(dnn_program *p, dnnl_primitive_desc_t pd, const dnn_arg *arg, int n) {
  if (!dnn_failed(p)) add_step(p, pd, arg, n);
}

void dnn_reorder(dnn_program *p, int from, int to) {
  dnnl_primitive_attr_t attr = from == to ? NULL : dnn_attr(p, false, false);
  if (dnn_failed(p) || from == to) return;
  dnnl_primitive_desc_t pd = NULL;
  dnn_check(p, dnnl_reorder_primitive_desc_create(&pd, md_of(p, from), p->engine, md_of(p, to), p->engine, attr),
            "reorder");
  if (!(pd = dnn_keep(p, pd))) return;
  step *s = add_step(p, pd, (dnn_arg[]){{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}, 2);
  if (s) s->from = from, s->to = to;
}

void dnn_zero(dnn_program *p, int i) {
  step *s = add_step(p, NULL, NULL, 0);
  if (s) s->to = i;
}

dnnl_primitive_desc_t dnn_product(dnn_program *p, const_dnnl_memory_desc_t a, const_dnnl_memory_desc_t b,
                                  const_dnnl_memory_desc_t bias, const_dnnl_memory_desc_t c,
                                  dnnl_primitive_attr_t attr) {
  dnnl_primitive_desc_t pd = NULL;
  if (dnn_failed(p)) return NULL;
  dnn_check(p, dnnl_matmul_primitive_desc_create(&pd, p->engine, a, b, bias, c, attr), "matrix product");
  return dnn_keep(p, pd);
}

/* ---- the end, and running ---- */

static void release_owned(dnn_program *p) {
  for (int i = 0; i < p->n_pds; i++) dnnl_primitive_desc_destroy(p->pd[i]);
  for (int i = 0; i < p->n_attrs; i++) dnnl_primitive_attr_destroy(p->attr[i]);
  for (int i = 0; i < p->n_mds; i++) dnnl_memory_desc_destroy(p->md[i]);
  p->n_pds = p->n_attrs = p->n_mds = 0;
}

void dnn_program_release(void *program) {
  dnn_program *p = program;
  release_owned(p);
  for (int i = 0; i < p->n_steps; i++)
    if (p->step[i].primitive) dnnl_primitive_destroy(p->step[i].primitive);
  for (int i = 0; i < p->n_slots; i++) dnnl_memory_destroy(p->slot[i].memory);
  rt_free(p);
}

rt_status dnn_program_finish(dnn_program *p, rt_site *site) {
  rt_status status = p->status;
  if (status != RT_OK) {
    dnn_program_release(p);
    return status;
  }
  release_owned(p);
  site->state = p;
  site->workspace = p->temporary_bytes + p->scratch_bytes;
  return RT_OK;
}

static void *address(const dnn_program *p, const slot *s, const rt_kernel_call *call) {
  switch (s->place) {
  case INPUT: return call->in[s->index]->data;
  case OUTPUT: return call->out[s->index].data;
  case TEMPORARY: return (char *)call->workspace + s->offset;
  default: return (char *)call->workspace + p->temporary_bytes;
  }
}

static void zero(void *data, int64_t begin, int64_t end) { memset((char *)data + begin, 0, (size_t)(end - begin)); }

static dnnl_status_t run_step(const dnn_program *p, const step *s, const rt_kernel_call *call) {
  enum { GRAIN = 1 << 16 };
  void *to = s->to < 0 ? NULL : address(p, &p->slot[s->to], call);
  if (s->primitive && s->from >= 0 && address(p, &p->slot[s->from], call) == to) return dnnl_success;
  if (s->primitive) return dnnl_primitive_execute(s->primitive, dnn_stream(), s->n, s->arg);
  const_dnnl_memory_desc_t md;
  dnnl_status_t status = dnnl_memory_get_memory_desc(p->slot[s->to].memory, &md);
  if (status == dnnl_success) rt_parallel_for((int64_t)dnnl_memory_desc_get_size(md), GRAIN, zero, to);
  return status;
}

rt_status dnn_program_run(const rt_kernel_call *call) {
  dnn_program *p = call->site->state;
  dnnl_status_t status = dnnl_success;
  for (int i = 0; i < p->n_slots && status == dnnl_success; i++)
    status = dnnl_memory_set_data_handle(p->slot[i].memory, address(p, &p->slot[i], call));
  dnn_use_threads(p->threads);
  for (int i = 0; i < p->n_steps && status == dnnl_success; i++) status = run_step(p, &p->step[i], call);
  if (status == dnnl_success) status = dnnl_stream_wait(dnn_stream());
  return dnn_fail(status, call->site->op->name);
}
