/* MNIST (LeCun, Cortes, Burges) and Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 28×28 grey images in IDX files. */
#include "base/alloc.h"
#include "data/data.h"
#include "data/idx.h"

#include <string.h>

static const rt_option table[] = {RT_DATA_OPTIONS(rt_data_pictures), RT_DATA_SIZE_OPTION, {0}};

enum { CLASSES = 10, MOST_BYTES = 1 << 30 };

static const char *const file_names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                                         "t10k-labels-idx1-ubyte"};

typedef struct file {
  const char *path;
  uint8_t *bytes;
  rt_idx idx;
} file;

static rt_status read_files(rt_data *data, file *files) {
  for (int i = 0; i < 4; i++) {
    int64_t n;
    file *f = &files[i];
    f->path = rt_data_path(&data->arena, data->directory, file_names[i]);
    if (!f->path)
      return rt_fail(RT_E_IO, "%s: there is neither %s nor %s.gz in it", data->directory, file_names[i], file_names[i]);
    rt_status s = rt_data_note_file(data, f->path);
    if (s == RT_OK) s = rt_data_slurp(f->path, MOST_BYTES, &f->bytes, &n);
    if (s == RT_OK) s = rt_idx_parse(f->bytes, n, i % 2 ? 1 : 3, f->path, &f->idx);
    if (s != RT_OK) return s;
  }
  return RT_OK;
}

static rt_status check(const file *images, const file *labels, const rt_idx *first) {
  if (images->idx.dim[0] != labels->idx.dim[0])
    return rt_fail(RT_E_IO, "%s has %lld images, %s %lld labels", images->path, (long long)images->idx.dim[0],
                   labels->path, (long long)labels->idx.dim[0]);
  if (images->idx.dim[1] != first->dim[1] || images->idx.dim[2] != first->dim[2])
    return rt_fail(RT_E_IO, "%s: images of %lldx%lld, but those for training are %lldx%lld", images->path,
                   (long long)images->idx.dim[1], (long long)images->idx.dim[2], (long long)first->dim[1],
                   (long long)first->dim[2]);
  for (int64_t i = 0; i < labels->idx.dim[0]; i++)
    if (labels->idx.value[i] >= CLASSES)
      return rt_fail(RT_E_IO, "%s: label %lld is %d, and there are %d classes", labels->path, (long long)i,
                     labels->idx.value[i], CLASSES);
  return RT_OK;
}

static rt_status fill(rt_data *data, const file *files) {
  const rt_idx *train = &files[0].idx, *test = &files[2].idx;
  data->dtype = RT_U8;
  data->channels = 1;
  data->height = train->dim[1];
  data->width = train->dim[2];
  data->classes = CLASSES;
  data->given[RT_TRAIN] = train->dim[0];
  data->given[RT_TEST] = test->dim[0];
  rt_status s = rt_data_reserve(data);
  if (s != RT_OK) return s;
  size_t each = (size_t)rt_data_pixels(data), n = (size_t)train->dim[0];
  memcpy(data->pixel, train->value, n * each);
  memcpy(data->pixel + n * each, test->value, (size_t)test->dim[0] * each);
  for (int64_t i = 0; i < rt_data_samples(data); i++)
    data->label[i] = i < (int64_t)n ? files[1].idx.value[i] : files[3].idx.value[i - (int64_t)n];
  data->class_name = (const char **)data->row->variant;
  return data->class_name ? RT_OK : rt_data_number_classes(data);
}

static rt_status open(rt_data *data, const void *opts) {
  const rt_data_pictures *o = opts;
  file files[4] = {0};
  rt_status s = read_files(data, files);
  if (s == RT_OK) s = check(&files[0], &files[1], &files[0].idx);
  if (s == RT_OK) s = check(&files[2], &files[3], &files[0].idx);
  if (s == RT_OK) s = fill(data, files);
  if (s == RT_OK) s = rt_data_scale(data, o->size);
  for (int i = 0; i < 4; i++) rt_free(files[i].bytes);
  return s;
}

#define FASHION "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
static const rt_data_file fashion_files[] = {
    {"train-images-idx3-ubyte", 47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
     FASHION "train-images-idx3-ubyte.gz"},
    {"train-labels-idx1-ubyte", 60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
     FASHION "train-labels-idx1-ubyte.gz"},
    {"t10k-images-idx3-ubyte", 7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
     FASHION "t10k-images-idx3-ubyte.gz"},
    {"t10k-labels-idx1-ubyte", 10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
     FASHION "t10k-labels-idx1-ubyte.gz"},
};

#define DIGITS "https://storage.googleapis.com/cvdf-datasets/mnist/"
static const rt_data_file digit_files[] = {
    {"train-images-idx3-ubyte", 47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
     DIGITS "train-images-idx3-ubyte.gz"},
    {"train-labels-idx1-ubyte", 60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
     DIGITS "train-labels-idx1-ubyte.gz"},
    {"t10k-images-idx3-ubyte", 7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
     DIGITS "t10k-images-idx3-ubyte.gz"},
    {"t10k-labels-idx1-ubyte", 10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
     DIGITS "t10k-labels-idx1-ubyte.gz"},
};

static const char *const fashion_places[] = {"/usr/share/datasets/fashion-mnist", NULL};
static const char *const fashion_classes[] = {"T-shirt", "trouser", "pullover", "dress", "coat",
                                              "sandal",  "shirt",   "sneaker",  "bag",   "ankle boot"};

const rt_data_row rt_data_row_fashion_mnist = {
    .name = "fashion-mnist",
    .summary = "70,000 grey images of clothes, 28x28, 10 classes",
    .places = fashion_places,
    .file = fashion_files,
    .files = 4,
    .options = table,
    .options_size = sizeof(rt_data_pictures),
    .variant = fashion_classes,
    .augment = "crop=2 flip",
    .open = open,
};

const rt_data_row rt_data_row_mnist = {
    .name = "mnist",
    .summary = "70,000 grey images of digits, 28x28, 10 classes",
    .file = digit_files,
    .files = 4,
    .options = table,
    .options_size = sizeof(rt_data_pictures),
    .augment = "crop=2",
    .open = open,
};
