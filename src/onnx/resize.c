/* Resize and the older Upsample, of images along their rows and columns. */
#include "onnx/export.h"
#include "onnx/import.h"

/* In the order of the op's choices. */
static const char *const places[] = {"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"};
static const char *const nearests[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
static const char *const modes[] = {"nearest", "linear"};

/* Which of the words an attribute is; -1 after a refusal. */
static int choice(rt_onnx_import *c, const char *name, const char *fallback, const char *const *words, int n) {
  for (int i = 0; i < n; i++)
    if (rt_onnx_word(c, name, fallback, words[i])) return i;
  rt_onnx_cant(c, "in another %s than %s, %s …", name, words[0], words[1]);
  return -1;
}

/* Four sizes or scales, of which only the last two may change anything, or two with axes=[2, 3]. False: refused. */
static bool last_two(rt_onnx_import *c, const double *v, int n, bool sizes, const rt_value *x, double out[2]) {
  rt_ints axes;
  if (rt_onnx_ints(c, "axes", &axes)) {
    int first = axes.n == 2 && n == 2 ? rt_onnx_axis(c, axes.v[0], 4) : 0;
    int second = first ? rt_onnx_axis(c, axes.v[1], 4) : 0;
    bool good = first + second == 5 && (first == 2 || second == 2);
    if (!good) rt_onnx_cant(c, "along other axes than rows and columns");
    out[0] = v[first == 3];
    out[1] = v[first != 3];
    return good;
  }
  bool good = n == 4;
  for (int d = 0; good && d < 2; d++) {
    int64_t dim = x->type.dim[d];
    good = sizes ? dim < 0 || (double)dim == v[d] : v[d] == 1;
  }
  if (!good) {
    rt_onnx_cant(c, "along other axes than rows and columns");
    return false;
  }
  out[0] = v[2];
  out[1] = v[3];
  return true;
}

static bool whole_numbers(rt_onnx_import *c, int input, double *v, int *n) {
  const rt_known *k = rt_onnx_known_in(c, input);
  if (!k || k->n > 4) return false;
  for (*n = 0; *n < k->n; ++*n) {
    if (k->v[*n].symbol && *n > 1) return false;
    v[*n] = k->v[*n].symbol ? -1 : (double)k->v[*n].v; /* the batch stays what it is */
  }
  return true;
}

static void emit(rt_onnx_import *c, rt_value *x, const double *v, int n, bool sizes, rt_resize_attr *attr) {
  double last[2], copy[4];
  for (int i = 0; i < n; i++) copy[i] = v[i] < 0 && x->type.rank > i ? (double)x->type.dim[i] : v[i];
  if (!last_two(c, copy, n, sizes, x, last)) return;
  for (int i = 0; i < 2; i++) {
    if (!(last[i] > 0 && last[i] <= 1e6)) {
      rt_onnx_cant(c, "to %g", last[i]);
      return;
    }
    if (sizes)
      attr->size[i] = (int64_t)last[i];
    else
      attr->scale[i] = last[i];
  }
  rt_onnx_give(c, 0, rt_onnx_emit(c, RT_OP(resize), attr, 1, x));
}

static void import_resize(rt_onnx_import *c) {
  rt_resize_attr attr = {.mode = choice(c, "mode", "nearest", modes, 2)};
  bool old = c->m->opset < 11; /* Resize of opset 10: x, scales */
  rt_value *x = rt_onnx_in(c, 0);
  double v[4];
  int n = 0;
  attr.place = old ? 2 : choice(c, "coordinate_transformation_mode", "half_pixel", places, 4);
  attr.nearest = old ? 2 : choice(c, "nearest_mode", "round_prefer_floor", nearests, 4);
  if (rt_onnx_int(c, "antialias", 0)) rt_onnx_cant(c, "with antialias");
  if (!rt_onnx_word(c, "keep_aspect_ratio_policy", "stretch", "stretch")) rt_onnx_cant(c, "keeping the aspect ratio");
  if (!x || c->refuses) return;
  if (x->type.rank != 4) {
    rt_onnx_cant(c, "of a tensor of rank %d", x->type.rank);
  } else if (rt_onnx_given(c, 3) && whole_numbers(c, 3, v, &n)) {
    emit(c, x, v, n, true, &attr);
  } else if ((n = rt_onnx_floats_in(c, old ? 1 : 2, v, 4)) > 0) {
    emit(c, x, v, n, false, &attr);
  } else {
    rt_onnx_cant(c, "to a size that is computed");
  }
}

/* Scales are an attribute before opset 9. */
static void import_upsample(rt_onnx_import *c) {
  rt_resize_attr attr = {.mode = choice(c, "mode", "nearest", modes, 2), .place = 2, .nearest = 2};
  const rt_onnx_attribute *scales = rt_onnx_attribute_of(c, "scales");
  rt_value *x = rt_onnx_in(c, 0);
  double v[4];
  int n = scales && scales->n_floats <= 4 ? (int)scales->n_floats : -1;
  for (int i = 0; i < n; i++) v[i] = (double)scales->floats[i];
  if (!scales) n = rt_onnx_floats_in(c, 1, v, 4);
  if (!x || c->refuses) return;
  if (x->type.rank != 4 || n < 1)
    rt_onnx_cant(c, "by scales that are computed, or of a tensor of rank %d", x->type.rank);
  else
    emit(c, x, v, n, false, &attr);
}

static void set_word(rt_onnx_export *e, const char *name, const char *word) {
  rt_onnx_set_text(e, rt_onnx_last(e), name, word);
}

static void export_resize(rt_onnx_export *e) {
  const rt_resize_attr *a = e->node->attr;
  const rt_dim *from = e->node->in[0]->type.dim;
  float scale[4] = {1, 1, 1, 1};
  for (int i = 0; i < 2; i++) {
    if (a->size[i] && from[2 + i] < 1) rt_onnx_cannot(e, "to a size, of an image whose size isn't known");
    scale[2 + i] = (float)(a->size[i] ? (double)a->size[i] / (double)from[2 + i] : a->scale[i]);
  }
  rt_onnx_put(e, "Resize", rt_onnx_in_name(e, 0), "", rt_onnx_floats(e, scale, 4, 1), NULL);
  set_word(e, "mode", modes[a->mode]);
  set_word(e, "coordinate_transformation_mode", places[a->place]);
  set_word(e, "nearest_mode", nearests[a->nearest]);
}

const rt_onnx_row rt_onnx_row_Resize = {"Resize", import_resize, RT_OP(resize), export_resize};
const rt_onnx_row rt_onnx_row_Upsample = {"Upsample", import_upsample};
