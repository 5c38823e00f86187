/* Average pooling by oneDNN. Max pooling is not here: its index is the op's own, oneDNN's a form of oneDNN's. */
#include "kernel/dnn_program.h"

typedef struct pool {
  dnn_shape x, y; /* in their own memory orders */
  rt_dtype dtype;
  dnnl_alg_kind_t kind;
  dnnl_dims_t kernel, stride, padding, dilation;
} pool;

/* Windows that tile the image: all that oneDNN has of adaptive pooling. */
static void tiles(pool *c, const rt_type *x, const rt_type *y) {
  for (int i = 0; i < 2; i++) c->kernel[i] = c->stride[i] = x->dim[2 + i] / y->dim[2 + i];
}

static pool pool_of(const rt_site *site, bool adaptive, const rt_type *x, const rt_type *y) {
  pool c = {.x = dnn_shape_of(x), .y = dnn_shape_of(y), .dtype = x->dtype, .kind = dnnl_pooling_avg_exclude_padding};
  if (adaptive) {
    tiles(&c, x, y);
    return c;
  }
  const rt_pool2d_attr *a = site->attr;
  if (a->count_include_pad) c.kind = dnnl_pooling_avg_include_padding;
  for (int i = 0; i < 2; i++) {
    c.kernel[i] = a->kernel[i];
    c.stride[i] = a->stride[i] ? a->stride[i] : a->kernel[i];
    c.padding[i] = a->padding[i];
  }
  return c;
}

/* A window may hang over the padding (ceil_mode), where PyTorch divides by less than oneDNN does. */
static bool inside(const pool *c) {
  for (int i = 0; i < 2; i++)
    if ((c->y.dim[2 + i] - 1) * c->stride[i] + c->kernel[i] > c->x.dim[2 + i] + 2 * c->padding[i]) return false;
  return true;
}

static bool overlap(const pool *c) { return c->stride[0] < c->kernel[0] || c->stride[1] < c->kernel[1]; }

static bool is_adaptive(const rt_site *site) {
  return site->op == RT_OP(adaptive_avg_pool2d) || site->op == RT_OP(adaptive_avg_pool2d_backward);
}

static bool is_backward(const rt_site *site) {
  return site->op == RT_OP(avg_pool2d_backward) || site->op == RT_OP(adaptive_avg_pool2d_backward);
}

static bool accepts(const rt_site *site) {
  const rt_type *x = is_backward(site) ? site->out : site->in[0], *y = is_backward(site) ? site->in[0] : site->out;
  if (!dnn_accepts(x) || !dnn_accepts(y) || x->dtype != y->dtype || x->rank != 4) return false;
  if (is_adaptive(site)) return x->dim[2] % y->dim[2] == 0 && x->dim[3] % y->dim[3] == 0;
  pool c = pool_of(site, false, x, y);
  return inside(&c) && !(is_backward(site) && c.dtype == RT_BF16 && overlap(&c)); /* it would add in bf16 */
}

static dnnl_primitive_desc_t forward(dnn_program *p, const pool *c, const_dnnl_memory_desc_t x,
                                     const_dnnl_memory_desc_t y, dnnl_primitive_attr_t attr) {
  dnnl_primitive_desc_t pd = NULL;
  if (dnn_failed(p)) return NULL;
  dnn_check(p,
            dnnl_pooling_forward_primitive_desc_create(&pd, dnn_engine(p), dnnl_forward_training, c->kind, x, y,
                                                       c->stride, c->kernel, c->dilation, c->padding, c->padding, attr),
            "average pooling");
  return dnn_keep(p, pd);
}

static rt_status prepare(rt_site *site) {
  bool backward = is_backward(site);
  const rt_type *x_type = backward ? site->out : site->in[0], *y_type = backward ? site->in[0] : site->out;
  pool c = pool_of(site, is_adaptive(site), x_type, y_type);
  dnn_program *p = dnn_program_new();
  if (!p) return RT_E_MEMORY;
  const_dnnl_memory_desc_t x_md = dnn_md(p, c.dtype, c.x), y_md = dnn_md(p, c.dtype, c.y);
  dnnl_primitive_attr_t attr = dnn_attr(p, false, false);
  dnnl_primitive_desc_t pd = forward(p, &c, x_md, y_md, attr), back = NULL;
  if (backward && !dnn_failed(p)) {
    dnn_check(p,
              dnnl_pooling_backward_primitive_desc_create(&back, dnn_engine(p), c.kind, x_md, y_md, c.stride, c.kernel,
                                                          c.dilation, c.padding, c.padding, pd, attr),
              "gradient of average pooling");
    pd = dnn_keep(p, back);
  }
  int x = backward ? dnn_output(p, 0, x_md) : dnn_input(p, 0, x_md);
  int y = backward ? dnn_input(p, 0, y_md) : dnn_output(p, 0, y_md);
  const dnn_arg arg[] = {{backward ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, x},
                         {backward ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST, y}};
  dnn_execute(p, pd, arg, 2);
  return dnn_program_finish(p, site);
}

#define POOL(op_name) \
  const rt_kernel rt_kernel_dnn_##op_name = {"dnn_" #op_name, RT_OP(op_name),  accepts, \
                                             prepare,         dnn_program_run, dnn_program_release}
POOL(avg_pool2d);
POOL(avg_pool2d_backward);
POOL(adaptive_avg_pool2d);
POOL(adaptive_avg_pool2d_backward);
