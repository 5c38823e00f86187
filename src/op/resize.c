/* resize: y = x N×C×H×W sampled at the places of another grid, as ONNX's Resize does on the two axes of an image.
 *   place of y's row p in x, for H rows of x, H' of y and scale s:
 *     half_pixel (p + ½)/s − ½   pytorch_half_pixel the same, but 0 where H' is 1   asymmetric p/s   align_corners p·(H − 1)/(H' − 1)
 *   nearest: one of the two pixels beside it, by `nearest`; linear: both, by their distance, each clamped to the image
 * H' is ⌊H·scale⌋ where a scale is given (s = scale), else size (s = H'/H).
 *   dx[q] = Σ over the y that sampled q, by the same shares */
#include "base/alloc.h"
#include "op/layer.h"

#include <math.h>

#define FIELD(name) offsetof(rt_resize_attr, name)

static const rt_option options[] = {
    {"size", RT_OPT_PAIR, FIELD(size), "0", 0, 1e6, .help = "rows, columns of the result; 0: by the scale"},
    {"scale_rows", RT_OPT_FLOAT, FIELD(scale[0]), "0", 0, 1e6, .help = "of the height; 0: by the size"},
    {"scale_columns", RT_OPT_FLOAT, FIELD(scale[1]), "0", 0, 1e6, .help = "of the width; 0: by the size"},
    {"mode", RT_OPT_CHOICE, FIELD(mode), "nearest", .choices = "nearest|linear", .help = "of sampling"},
    {"place", RT_OPT_CHOICE, FIELD(place), "half_pixel",
     .choices = "half_pixel|pytorch_half_pixel|asymmetric|align_corners", .help = "where a pixel of y is in x"},
    {"nearest", RT_OPT_CHOICE, FIELD(nearest), "round_prefer_floor",
     .choices = "round_prefer_floor|round_prefer_ceil|floor|ceil", .help = "which of two pixels"},
    {0},
};

enum { NEAREST, LINEAR };
enum { HALF_PIXEL, PYTORCH_HALF_PIXEL, ASYMMETRIC, ALIGN_CORNERS };
enum { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL };

/* ---- shapes ---- */

static rt_status resized(const rt_infer *c, const rt_type *x, rt_type *out) {
  const rt_resize_attr *a = c->attr;
  *out = *x;
  for (int i = 0; i < 2; i++) {
    char text[RT_TYPE_TEXT];
    rt_dim d = x->dim[2 + i];
    double scaled = floor((double)d * a->scale[i]);
    if ((a->size[i] > 0) == (a->scale[i] > 0))
      return rt_infer_fail(c, "either a size or a scale is needed for axis %d", 2 + i);
    if (a->size[i] > 0)
      out->dim[2 + i] = a->size[i];
    else if (d < 0)
      out->dim[2 + i] = rt_dim_derive(c, "scaled(%s,%.9g)", rt_dim_text(c->graph, d, text, sizeof text), a->scale[i]);
    else if (scaled < (double)RT_MOST_BYTES)
      out->dim[2 + i] = (int64_t)scaled;
    else
      return rt_infer_fail(c, "axis %d would have %.3g elements", 2 + i, scaled);
    if (out->dim[2 + i] == 0) return rt_infer_fail(c, "nothing is left of axis %d", 2 + i);
  }
  return RT_OK;
}

static rt_status infer(rt_infer *c) {
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = rt_infer_rank(c, 0, 4, 4))) return s;
  return resized(c, c->in[0], c->out);
}

static rt_status infer_backward(rt_infer *c) { /* dy like */
  rt_type y;
  rt_status s;
  if ((s = rt_infer_float(c, 0)) || (s = rt_infer_rank(c, 1, 4, 4)) || (s = resized(c, c->in[1], &y)) ||
      (s = rt_infer_shape(c, 0, 4, y.dim)))
    return s;
  c->out[0] = rt_type_of(c->in[0]->dtype, 4, c->in[1]->dim);
  return RT_OK;
}

static void grad(rt_grad *c) {
  if (c->want[0])
    c->dx[0] = rt_emit(c->graph, RT_OP(resize_backward), NULL, c->node->attr, 2, c->dy[0], c->node->in[0]);
}

/* ---- sampling: two pixels of x and the share of the second ---- */

typedef struct sample {
  int64_t low, high;
  double share;
} sample;

static double place_of(const rt_resize_attr *a, int axis, int64_t p, int64_t from, int64_t to) {
  double scale = a->scale[axis] > 0 ? a->scale[axis] : (double)to / (double)from;
  if (a->place == ASYMMETRIC) return (double)p / scale;
  if (a->place == ALIGN_CORNERS) return to > 1 ? (double)p * (double)(from - 1) / (double)(to - 1) : 0;
  if (a->place == PYTORCH_HALF_PIXEL && to == 1) return 0;
  return ((double)p + 0.5) / scale - 0.5;
}

static int64_t clamped(double v, int64_t n) { return v < 0 ? 0 : v > (double)(n - 1) ? n - 1 : (int64_t)v; }

static sample sample_of(const rt_resize_attr *a, int axis, int64_t p, int64_t from, int64_t to) {
  double at = place_of(a, axis, p, from, to);
  if (a->mode == LINEAR) return (sample){clamped(floor(at), from), clamped(floor(at) + 1, from), at - floor(at)};
  double near = a->nearest == FLOOR          ? floor(at)
                : a->nearest == CEIL         ? ceil(at)
                : a->nearest == PREFER_FLOOR ? ceil(at - 0.5)
                                             : floor(at + 0.5);
  int64_t q = clamped(near, from);
  return (sample){q, q, 0};
}

/* Samples of all rows, then of all columns; for rt_free. */
static sample *samples_of(const rt_resize_attr *a, const rt_tensor *x, const rt_tensor *y) {
  sample *s = rt_alloc_array((size_t)(y->dim[2] + y->dim[3]), sizeof *s);
  for (int64_t p = 0; s && p < y->dim[2]; p++) s[p] = sample_of(a, 0, p, x->dim[2], y->dim[2]);
  for (int64_t q = 0; s && q < y->dim[3]; q++) s[y->dim[2] + q] = sample_of(a, 1, q, x->dim[3], y->dim[3]);
  return s;
}

/* The four pixels of x behind y's (p, q), and their shares. */
typedef struct corners {
  int64_t h[4], w[4];
  double share[4];
} corners;

static corners corners_of(const sample *r, const sample *q) {
  return (corners){
      {r->low, r->low, r->high, r->high},
      {q->low, q->high, q->low, q->high},
      {(1 - r->share) * (1 - q->share), (1 - r->share) * q->share, r->share * (1 - q->share), r->share * q->share}};
}

static rt_status reference(const rt_call *c) {
  const rt_tensor *x = c->in[0], *y = c->out;
  sample *s = samples_of(c->attr, x, y);
  if (!s) return RT_E_MEMORY;
  for (int64_t i = 0; i < rt_tensor_elements(y); i++) {
    int64_t q = i % y->dim[3], p = i / y->dim[3] % y->dim[2], plane = i / (y->dim[2] * y->dim[3]);
    corners k = corners_of(&s[p], &s[y->dim[2] + q]);
    double v = 0;
    for (int j = 0; j < 4; j++)
      if (k.share[j] != 0)
        v += k.share[j] * rt_load(x, rt_at4(x, plane / y->dim[1], plane % y->dim[1], k.h[j], k.w[j]));
    rt_put(y, i, v);
  }
  rt_free(s);
  return RT_OK;
}

static rt_status reference_backward(const rt_call *c) {
  const rt_tensor *dy = c->in[0], *dx = c->out;
  sample *s = samples_of(c->attr, dx, dy);
  double *sum = rt_dense_zero(dx);
  bool ready = s && sum;
  for (int64_t i = 0; ready && i < rt_tensor_elements(dy); i++) {
    int64_t q = i % dy->dim[3], p = i / dy->dim[3] % dy->dim[2], plane = i / (dy->dim[2] * dy->dim[3]);
    corners k = corners_of(&s[p], &s[dy->dim[2] + q]);
    for (int j = 0; j < 4; j++) sum[(plane * dx->dim[2] + k.h[j]) * dx->dim[3] + k.w[j]] += k.share[j] * rt_get(dy, i);
  }
  if (ready) rt_dense_store(dx, sum);
  rt_free(s);
  rt_free(sum);
  return ready ? RT_OK : RT_E_MEMORY;
}

static const char *const cases[] = {"x[2,3,4,5] ; scale_rows=2 scale_columns=2",
                                    "x[1,2,5,4] ; size=3,7 mode=linear",
                                    "x[1,1,4,4] ; size=8 mode=linear place=align_corners",
                                    "x[1,3,4,6] ; scale_rows=0.5 scale_columns=1.5 place=asymmetric nearest=floor",
                                    "x[2,2,3,3] ; size=1,5 mode=linear place=pytorch_half_pixel",
                                    "x[1,2,7,7] ; size=5 nearest=ceil place=align_corners",
                                    "x[1,1,5,5] ; size=4 nearest=round_prefer_ceil",
                                    NULL};
static const char *const errors[] = {"x[2,3,4] ; size=2 => x must have rank 4",
                                     "x[1,1,4,4] ; => either a size or a scale",
                                     "x[1,1,4,4] ; size=2 scale_rows=2 => either a size or a scale",
                                     "x[1,1,4,4] ; scale_rows=0.1 scale_columns=1 => nothing is left", NULL};
static const char *const cases_backward[] = {"x[2,3,8,10] x[2,3,4,5] ; scale_rows=2 scale_columns=2",
                                             "x[1,2,3,7] x[1,2,5,4] ; size=3,7 mode=linear", NULL};
static const char *const errors_backward[] = {"x[1,1,4,4] x[1,1,4,4] ; size=2 => dy must be", NULL};

const rt_op rt_op_row_resize = {
    .name = "resize",
    .summary = "y = an image N×C×H×W sampled to another size",
    .input_names = "x",
    .options = options,
    .attr_size = sizeof(rt_resize_attr),
    .n_out = 1,
    .infer = infer,
    .grad = grad,
    .reference = reference,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases,
    .errors = errors,
};

const rt_op rt_op_row_resize_backward = {
    .name = "resize_backward",
    .summary = "gradient of resize's x from that of its result; dx of the shape of like",
    .input_names = "dy like",
    .options = options,
    .attr_size = sizeof(rt_resize_attr),
    .n_out = 1,
    .shape_only = 1u << 1,
    .infer = infer_backward,
    .reference = reference_backward,
    .layout = RT_LAYOUT_FOLLOW,
    .precision = RT_PRECISION_FOLLOW,
    .cases = cases_backward,
    .errors = errors_backward,
};
