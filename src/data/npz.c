/* Arrays of NumPy: X and y in a .npz (or any file of tensors that rt_file_open reads), with X_test and y_test beside them
 * or not; the names that Keras uses, x_train …, are understood too. X is N×C×H×W, N×H×W×C, N×H×W or N×features; y holds
 * N class numbers, −1 in training for an image without a label. Bytes are pixels; every other kind of number becomes f32 and stays as it is until it is normalised. */
#include "base/alloc.h"
#include "data/data.h"
#include "format/format.h"
#include "tensor/tensor.h"

#include <string.h>

enum { ORDER_AUTO, ORDER_CHW, ORDER_HWC };

typedef struct options {
  rt_data_common common;
  int order;
} options;

static const rt_option table[] = {
    RT_DATA_OPTIONS(options),
    {"order", RT_OPT_CHOICE, offsetof(options, order), "auto", 0, 0, "auto|chw|hwc",
     "of X's axes after the first; auto: hwc where only the last looks like channels"},
    {0},
};

enum { CLASSES_MOST = 1 << 20, NAMES = 3 };

/* The two arrays of a part. */
typedef struct part {
  rt_file_info x, y;
  bool there;
} part;

static rt_status find_part(rt_file *file, const char *const x[NAMES], const char *const y[NAMES], part *out) {
  for (int i = 0; i < NAMES; i++) {
    if (!x[i] || rt_file_find(file, x[i], &out->x) != RT_OK) continue;
    out->there = true;
    rt_status s = rt_file_find(file, y[i], &out->y);
    return s == RT_OK ? RT_OK : rt_fail_in(s, "%s is there without its labels", x[i]);
  }
  return RT_OK;
}

static rt_status find_parts(rt_data *data, rt_file *file, part parts[2]) {
  static const char *const x[2][NAMES] = {{"X", "x", "x_train"}, {"X_test", "x_test", NULL}};
  static const char *const y[2][NAMES] = {{"y", "y", "y_train"}, {"y_test", "y_test", NULL}};
  rt_status s = RT_OK;
  for (int i = 0; i < 2 && s == RT_OK; i++) s = find_part(file, x[i], y[i], &parts[i]);
  if (s != RT_OK) return s;
  if (!parts[0].there) return rt_fail(RT_E_FORMAT, "%s: there is no array X in it (nor x_train)", data->directory);
  for (int i = 0; i < 2; i++) {
    const part *p = &parts[i];
    if (!p->there) continue;
    bool flat = p->y.rank == 1 || (p->y.rank == 2 && p->y.dim[1] == 1);
    if (p->x.rank < 2 || p->x.rank > 4 || !flat || p->x.dim[0] != p->y.dim[0] || p->x.dim[0] < 1)
      return rt_fail(RT_E_FORMAT, "%s: %s has rank %d and %s rank %d: expected N×… of rank 2 to 4, and N class numbers",
                     data->directory, p->x.name, p->x.rank, p->y.name, p->y.rank);
    bool same = p->x.rank == parts[0].x.rank && p->x.dtype == parts[0].x.dtype;
    for (int k = 1; same && k < p->x.rank; k++) same = p->x.dim[k] == parts[0].x.dim[k];
    if (!same)
      return rt_fail(RT_E_FORMAT, "%s: %s and %s have different shapes or kinds of numbers", data->directory, p->x.name,
                     parts[0].x.name);
  }
  return RT_OK;
}

/* Shape of an image; true where channels come last. */
static bool take_shape(rt_data *data, const rt_file_info *x, int order) {
  const int64_t *d = x->dim;
  data->channels = data->height = data->width = 1;
  if (x->rank == 2) data->width = d[1];
  if (x->rank == 3) data->height = d[1], data->width = d[2];
  if (x->rank != 4) return false;
  bool last = order == ORDER_HWC || (order == ORDER_AUTO && d[1] != 1 && d[1] != 3 && (d[3] == 1 || d[3] == 3));
  data->channels = last ? d[3] : d[1];
  data->height = last ? d[1] : d[2];
  data->width = last ? d[2] : d[3];
  return last;
}

static rt_status read_array(rt_file *file, const rt_file_info *info, rt_tensor *out) {
  rt_type type = rt_type_of(info->dtype, info->rank, info->dim);
  void *bytes = rt_alloc_large((size_t)info->bytes);
  *out = rt_tensor_view(&type, bytes);
  return bytes ? rt_file_read(file, info->name, bytes, (size_t)info->bytes) : RT_E_MEMORY;
}

static void take_pixels(rt_data *data, const rt_tensor *x, int64_t first, bool last) {
  int64_t n = x->dim[0], each = rt_data_pixels(data), plane = data->height * data->width;
  for (int64_t i = 0; i < n; i++) {
    for (int64_t k = 0; k < each; k++) {
      int64_t from = i * each + (last ? k % plane * data->channels + k / plane : k), to = (first + i) * each + k;
      if (data->dtype == RT_U8)
        data->pixel[to] = ((const uint8_t *)x->data)[from];
      else
        data->value[to] = (float)rt_load(x, from);
    }
  }
}

static rt_status take_labels(rt_data *data, const rt_tensor *y, const char *name, int64_t first) {
  for (int64_t i = 0; i < y->dim[0]; i++) {
    int64_t label = rt_load_int(y, i);
    bool none = label == RT_NO_LABEL && first == 0; /* the training part */
    if ((label < 0 && !none) || label >= CLASSES_MOST)
      return rt_fail(RT_E_FORMAT, "%s: %s[%lld] is %lld, and that is no class number", data->directory, name,
                     (long long)i, (long long)label);
    data->label[first + i] = label;
    if (label >= data->classes) data->classes = label + 1;
  }
  return RT_OK;
}

static rt_status read_part(rt_data *data, rt_file *file, const part *p, int64_t first, bool last) {
  rt_tensor x = {0}, y = {0};
  rt_status s = read_array(file, &p->x, &x);
  if (s == RT_OK) s = read_array(file, &p->y, &y);
  if (s == RT_OK) take_pixels(data, &x, first, last);
  if (s == RT_OK) s = take_labels(data, &y, p->y.name, first);
  rt_free(x.data);
  rt_free(y.data);
  return s;
}

static rt_status read_file(rt_data *data, rt_file *file, const options *o) {
  part parts[2] = {0};
  rt_status s = find_parts(data, file, parts);
  if (s != RT_OK) return s;
  if (rt_dtype_is_float(parts[0].y.dtype))
    return rt_fail(RT_E_FORMAT, "%s: %s holds %s: expected whole numbers", data->directory, parts[0].y.name,
                   rt_dtype_name(parts[0].y.dtype));
  bool last = take_shape(data, &parts[0].x, o->order);
  data->dtype = parts[0].x.dtype == RT_U8 ? RT_U8 : RT_F32;
  data->given[RT_TRAIN] = parts[0].x.dim[0];
  data->given[RT_TEST] = parts[1].there ? parts[1].x.dim[0] : 0;
  if (rt_data_pixels(data) < 1) return rt_fail(RT_E_FORMAT, "%s: its images are empty", data->directory);
  s = rt_data_reserve(data);
  if (s == RT_OK) s = read_part(data, file, &parts[0], 0, last);
  if (s == RT_OK && parts[1].there) s = read_part(data, file, &parts[1], data->given[RT_TRAIN], last);
  if (s == RT_OK && !data->classes)
    s = rt_fail(RT_E_FORMAT, "%s: no image has a label, so how many classes there are isn't known", data->directory);
  return s == RT_OK ? rt_data_number_classes(data) : s;
}

static rt_status open(rt_data *data, const void *opts) {
  rt_file *file;
  rt_status s = rt_data_note_file(data, data->directory);
  if (s == RT_OK) s = rt_file_open(data->directory, &file);
  if (s != RT_OK) return s;
  s = read_file(data, file, opts);
  rt_file_free(file);
  return s;
}

const rt_data_row rt_data_row_npz = {
    .name = "npz",
    .summary = "NumPy arrays X and y in a file",
    .needs_path = true,
    .options = table,
    .options_size = sizeof(options),
    .open = open,
};
