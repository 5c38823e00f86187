/* The gradient of a convolution by its weights as one matrix product:
 *   dW (O × taps·I) = dYᵀ (O × P) · columns (P × taps·I),   P = N·OH·OW
 * columns[p] holds the pixels that output p was made of. The product's inner dimension is long and its result large where
 * images are small or the stride is above 1, which is where the library's direct kernel runs at half its speed: of
 * ResNet-18's layers at batch 128 in bf16 on AVX-512, 4×4 images and strides of 2 gain 1.2 to 1.9 times from
 * 128 channels on. */
#include "base/alloc.h"
#include "kernel/own.h"

typedef struct columns {
  rt_site product; /* a matmul, by whichever kernel is best at it */
  const rt_kernel *kernel;
  rt_type a, b, c;
  const rt_type *in[2];
  rt_matmul_attr attr;
  int64_t columns_bytes, result_bytes;
} columns;

typedef struct shape {
  int64_t n, oh, ow, o, h, w, i, kh, kw;
} shape;

static shape shape_of(const rt_site *site) {
  const rt_type *dy = site->in[0], *x = site->in[1], *dw = site->out;
  return (shape){dy->dim[0], dy->dim[2], dy->dim[3], dy->dim[1], x->dim[2],
                 x->dim[3],  x->dim[1],  dw->dim[2], dw->dim[3]};
}

/* Where it wins: wide layers whose images are small or whose stride is not 1. On AVX-512 the library's kernel is the faster
 * one for 64 channels (by 1.16 in bf16). */
static bool pays(const rt_conv2d_attr *a, const shape *s) {
  rt_isa isa = rt_cpu_get()->isa;
  bool strided = a->stride[0] > 1 || a->stride[1] > 1;
  return isa >= RT_ISA_AVX2 && s->kh * s->kw > 1 && s->i >= (isa == RT_ISA_AVX2 ? 64 : 128) && s->o >= 128 &&
         s->n * s->oh * s->ow >= 256 && (strided || (s->oh * s->ow <= 16 && s->i >= 256));
}

static bool accepts(const rt_site *site) {
  const rt_conv2d_attr *a = site->attr;
  const rt_type *dy = site->in[0], *x = site->in[1];
  shape s = shape_of(site);
  return own_dtype(x->dtype) && dy->dtype == x->dtype && own_channels_innermost(x) && own_channels_innermost(dy) &&
         a->groups == 1 && (site->n_out == 1 || site->out[1].dtype == RT_F32) && site->out->dtype == RT_F32 &&
         site->out->layout == RT_ROW_MAJOR && pays(a, &s);
}

static void release(void *state) {
  columns *c = state;
  if (c) rt_site_release(&c->product, c->kernel);
  rt_free(c);
}

static int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

static rt_status prepare(rt_site *site) {
  shape s = shape_of(site);
  int64_t pixels = s.n * s.oh * s.ow, width = s.kh * s.kw * s.i;
  columns *c = rt_alloc(sizeof *c);
  if (!c) return RT_E_MEMORY;
  site->state = c;
  c->a = rt_type_of(site->in[0]->dtype, 2, (rt_dim[]){pixels, s.o});
  c->b = rt_type_of(site->in[1]->dtype, 2, (rt_dim[]){pixels, width});
  c->c = rt_type_of(RT_F32, 2, (rt_dim[]){s.o, width});
  c->in[0] = &c->a;
  c->in[1] = &c->b;
  c->attr = (rt_matmul_attr){.transpose_a = true, .f32 = true};
  c->product = (rt_site){
      .op = RT_OP(matmul), .attr = &c->attr, .name = site->name, .in = c->in, .out = &c->c, .n_in = 2, .n_out = 1};
  rt_status status = rt_kernel_choose(&c->product, RT_KERNELS_AUTO, &c->kernel);
  if (status != RT_OK) return status;
  if (!c->kernel || c->product.n_packs) return RT_E_UNSUPPORTED;
  c->columns_bytes = padded(rt_type_bytes(&c->b));
  c->result_bytes = padded(rt_type_bytes(&c->c));
  site->workspace = c->columns_bytes + c->result_bytes + c->product.workspace;
  if (site->n_out > 1 && site->workspace < own_sum_pixels_bytes(s.o)) site->workspace = own_sum_pixels_bytes(s.o);
  return RT_OK;
}

typedef struct gathering {
  const rt_conv2d_attr *attr;
  shape s;
  const char *x;
  char *to;
  size_t pixel; /* bytes of the channels of one pixel */
} gathering;

/* Rows of outputs: (n, oh). */
static void gather(void *p, int64_t begin, int64_t end) {
  const gathering *g = p;
  const shape *s = &g->s;
  const rt_conv2d_attr *a = g->attr;
  char *to = g->to + (size_t)(begin * s->ow * s->kh * s->kw) * g->pixel;
  for (int64_t row = begin; row < end; row++)
    for (int64_t ow = 0; ow < s->ow; ow++)
      for (int64_t tap = 0; tap < s->kh * s->kw; tap++, to += g->pixel) {
        int64_t h = row % s->oh * a->stride[0] - a->padding[0] + tap / s->kw * a->dilation[0];
        int64_t w = ow * a->stride[1] - a->padding[1] + tap % s->kw * a->dilation[1];
        if (h < 0 || h >= s->h || w < 0 || w >= s->w)
          memset(to, 0, g->pixel);
        else
          memcpy(to, g->x + (size_t)((row / s->oh * s->h + h) * s->w + w) * g->pixel, g->pixel);
      }
}

typedef struct turning {
  const float *from; /* O × taps × I */
  float *to;         /* O × I × taps */
  int64_t taps, i;
} turning;

static void turn(void *p, int64_t begin, int64_t end) {
  const turning *t = p;
  for (int64_t o = begin; o < end; o++) {
    const float *from = t->from + o * t->taps * t->i;
    float *to = t->to + o * t->taps * t->i;
    for (int64_t i = 0; i < t->i; i++)
      for (int64_t tap = 0; tap < t->taps; tap++) *to++ = from[tap * t->i + i];
  }
}

static rt_status run(const rt_kernel_call *call) {
  const columns *c = call->site->state;
  shape s = shape_of(call->site);
  char *matrix = call->workspace, *result = matrix + c->columns_bytes;
  gathering g = {call->site->attr, s, call->in[1]->data, matrix, (size_t)s.i * rt_dtype_size(call->in[1]->dtype)};
  rt_parallel_for(s.n * s.oh, 1 + OWN_GRAIN / (s.ow * s.kh * s.kw * s.i), gather, &g);
  rt_tensor a = rt_tensor_view(&c->a, call->in[0]->data), b = rt_tensor_view(&c->b, matrix),
            out = rt_tensor_view(&c->c, result);
  const rt_tensor *in[] = {&a, &b};
  rt_kernel_call product = {&c->product, in, &out, result + c->result_bytes};
  rt_status status = c->kernel->run(&product);
  turning t = {(const float *)result, call->out[0].data, s.kh * s.kw, s.i};
  if (status == RT_OK) rt_parallel_for(s.o, 1, turn, &t);
  if (call->site->n_out > 1) own_sum_pixels(call->in[0], &call->out[1], call->workspace);
  return status;
}

const rt_kernel rt_kernel_conv2d_columns_backward_weight = {
    "own_conv2d_columns", RT_OP(conv2d_backward_weight), accepts, prepare, run, release};
