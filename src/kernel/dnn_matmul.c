/* Matrix products by oneDNN. */
#include "kernel/dnn_program.h"

static bool accepts_product(const rt_site *site) {
  const rt_type *a = site->in[0], *b = site->in[1], *c = site->out;
  return dnn_accepts(a) && dnn_accepts(b) && dnn_accepts(c) && a->dtype == b->dtype &&
         (c->dtype == a->dtype || c->dtype == RT_F32) && dnn_is_row_major(a) && dnn_is_row_major(b) &&
         dnn_is_row_major(c);
}

/* ---- linear: y[…,O] = x[…,K] wᵀ + bias, w[O,K] ---- */

static bool accepts_linear(const rt_site *site) {
  const rt_type *bias = dnn_optional(site, 2);
  return accepts_product(site) && (!bias || bias->dtype == RT_F32);
}

static rt_status prepare_linear(rt_site *site) {
  const rt_type *x_type = site->in[0], *w_type = site->in[1];
  int64_t k = w_type->dim[1], o = w_type->dim[0], rows = rt_type_elements(x_type) / k;
  rt_dtype dtype = x_type->dtype;
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  dnn_shape w_shape = dnn_transposed(dnn_matrix(o, k));
  const_dnnl_memory_desc_t x_md = dnn_md(p, dtype, dnn_matrix(rows, k)),
                           y_md = dnn_md(p, site->out->dtype, dnn_matrix(rows, o)),
                           bias = dnn_optional(site, 2) ? dnn_md(p, RT_F32, dnn_matrix(1, o)) : NULL;
  dnnl_primitive_desc_t pd = dnn_product(p, x_md, dnn_md_any(p, dtype, w_shape), bias, y_md, dnn_attr(p, false, false));
  int x = dnn_input(p, 0, x_md), b = dnn_input(p, 2, bias), y = dnn_output(p, 0, y_md);
  int w = dnn_weights(p, site, 1, w_shape, dnn_wanted(p, pd, dnnl_query_weights_md));
  dnn_execute(p, pd, (dnn_arg[]){{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}}, 4);
  return dnn_program_finish(p, site);
}

/* ---- matmul: c[…,M,N] = a[…,M,K] b[…,K,N], leading dimensions broadcast ---- */

/* As many dimensions as the product has, ones in front. */
static dnn_shape widened(dnn_shape s, int rank) {
  dnn_shape w = {.rank = rank};
  for (int i = 0; i < rank; i++) {
    int from = i - (rank - s.rank);
    w.dim[i] = from < 0 ? 1 : s.dim[from];
    w.stride[i] = from < 0 ? s.dim[0] * s.stride[0] : s.stride[from];
  }
  return w;
}

static int64_t leading(const rt_type *t) { return rt_type_elements(t) / (t->dim[t->rank - 2] * t->dim[t->rank - 1]); }

static rt_status prepare_matmul(rt_site *site) {
  const rt_matmul_attr *attr = site->attr;
  const rt_type *a_type = site->in[0], *b_type = site->in[1], *c_type = site->out;
  int rank = c_type->rank;
  dnn_shape a = dnn_row_major(a_type), b = dnn_row_major(b_type), c = dnn_row_major(c_type);
  if (leading(b_type) == 1 && leading(a_type) == leading(c_type) && !attr->transpose_a) { /* one long product */
    int64_t n = c_type->dim[rank - 1], k = a_type->dim[a_type->rank - 1], rows = rt_type_elements(c_type) / n;
    a = dnn_matrix(rows, k);
    b = dnn_matrix(b_type->dim[b_type->rank - 2], b_type->dim[b_type->rank - 1]);
    c = dnn_matrix(rows, n);
    rank = 2;
  }
  if (attr->transpose_a) a = dnn_transposed(a);
  if (attr->transpose_b) b = dnn_transposed(b);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  const_dnnl_memory_desc_t a_md = dnn_md(p, a_type->dtype, widened(a, rank)),
                           b_md = dnn_md(p, b_type->dtype, widened(b, rank)), c_md = dnn_md(p, c_type->dtype, c);
  dnnl_primitive_desc_t pd = dnn_product(p, a_md, b_md, NULL, c_md, dnn_attr(p, false, false));
  const dnn_arg arg[] = {{DNNL_ARG_SRC, dnn_input(p, 0, a_md)},
                         {DNNL_ARG_WEIGHTS, dnn_input(p, 1, b_md)},
                         {DNNL_ARG_DST, dnn_output(p, 0, c_md)}};
  dnn_execute(p, pd, arg, 3);
  return dnn_program_finish(p, site);
}

const rt_kernel rt_kernel_dnn_linear = {"dnn_linear",   RT_OP(linear),   accepts_linear,
                                        prepare_linear, dnn_program_run, dnn_program_release};
const rt_kernel rt_kernel_dnn_matmul = {"dnn_matmul",   RT_OP(matmul),   accepts_product,
                                        prepare_matmul, dnn_program_run, dnn_program_release};
