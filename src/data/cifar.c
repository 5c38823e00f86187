/* CIFAR-10 and CIFAR-100 (Krizhevsky 2009), binary version: records of one size without a header,
 *
 *   label: u8 | 3072 × u8: red plane, green plane, blue plane, 32×32 each        (CIFAR-10)
 *   coarse label: u8 | fine label: u8 | 3072 × u8                                (CIFAR-100; the fine label counts)
 *
 * and the version that most people have, Python pickles of {"data": N×3072 array, "labels" or "fine_labels": list}. */
#include "data/cifar.h"
#include "base/alloc.h"
#include "data/data.h"
#include "format/pickle.h"

#include <stdio.h>
#include <string.h>

enum { SIDE = 32, PIXELS = 3 * SIDE * SIDE, MOST_RECORDS = 1 << 20 };

static const rt_option table[] = {RT_DATA_OPTIONS(rt_data_pictures), RT_DATA_SIZE_OPTION, {0}};

typedef struct variant {
  int64_t labels, classes; /* bytes before the pixels, the last of which is the class */
  int train, files;        /* how many of the row's files are for training, and all of them */
  const char *inside;      /* the archive's directory … */
  const char *pickled;     /* … and that of the version for Python */
  const char *key;         /* of the labels there */
  const char *const *class_name;
} variant;

static const char *const classes_10[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                         "dog",      "frog",       "horse", "ship", "truck"};
static const char *const classes_100[] = {
    "apple",      "aquarium fish", "baby",         "bear",       "beaver",      "bed",         "bee",
    "beetle",     "bicycle",       "bottle",       "bowl",       "boy",         "bridge",      "bus",
    "butterfly",  "camel",         "can",          "castle",     "caterpillar", "cattle",      "chair",
    "chimpanzee", "clock",         "cloud",        "cockroach",  "couch",       "crab",        "crocodile",
    "cup",        "dinosaur",      "dolphin",      "elephant",   "flatfish",    "forest",      "fox",
    "girl",       "hamster",       "house",        "kangaroo",   "keyboard",    "lamp",        "lawn mower",
    "leopard",    "lion",          "lizard",       "lobster",    "man",         "maple tree",  "motorcycle",
    "mountain",   "mouse",         "mushroom",     "oak tree",   "orange",      "orchid",      "otter",
    "palm tree",  "pear",          "pickup truck", "pine tree",  "plain",       "plate",       "poppy",
    "porcupine",  "possum",        "rabbit",       "raccoon",    "ray",         "road",        "rocket",
    "rose",       "sea",           "seal",         "shark",      "shrew",       "skunk",       "skyscraper",
    "snail",      "snake",         "spider",       "squirrel",   "streetcar",   "sunflower",   "sweet pepper",
    "table",      "tank",          "telephone",    "television", "tiger",       "tractor",     "train",
    "trout",      "tulip",         "turtle",       "wardrobe",   "whale",       "willow tree", "wolf",
    "woman",      "worm"};

static const variant variant_10 = {1, 10, 5, 6, "cifar-10-batches-bin", "cifar-10-batches-py", "labels", classes_10};
static const variant variant_100 = {2, 100, 1, 2, "cifar-100-binary", "cifar-100-python", "fine_labels", classes_100};

rt_status rt_cifar_parse(const uint8_t *bytes, int64_t n, int64_t labels, int64_t classes, const char *path,
                         int64_t *records) {
  int64_t record = labels + PIXELS;
  if (n == 0 || n % record)
    return rt_fail(RT_E_IO, "%s: %lld bytes aren't whole records of %lld", path, (long long)n, (long long)record);
  *records = n / record;
  for (int64_t i = 0; i < *records; i++)
    if (bytes[i * record + labels - 1] >= classes)
      return rt_fail(RT_E_IO, "%s: record %lld has class %d, and there are %lld", path, (long long)i,
                     bytes[i * record + labels - 1], (long long)classes);
  return RT_OK;
}

typedef struct file {
  uint8_t *bytes;
  int64_t records;
} file;

/* ---- the pickled version, made into records ---- */

static rt_status to_records(const variant *v, const rt_pickle *top, const char *path, uint8_t **out, int64_t *bytes) {
  const rt_pickle *data = rt_pickle_find(top, "data"), *labels = rt_pickle_find(top, v->key);
  const rt_pickle_array *a = data && data->kind == RT_PICKLE_ARRAY ? data->array : NULL;
  if (!a || !a->element || a->element->dtype != RT_U8 || a->rank != 2 || a->dim[1] != PIXELS || a->fortran)
    return rt_fail(RT_E_FORMAT, "%s: there is no array \"data\" of N×%d bytes in it", path, PIXELS);
  if (!labels || labels->kind != RT_PICKLE_LIST || (int64_t)labels->list.n != a->dim[0])
    return rt_fail(RT_E_FORMAT, "%s: there is no list \"%s\" of %lld labels in it", path, v->key, (long long)a->dim[0]);
  int64_t record = v->labels + PIXELS;
  *bytes = a->dim[0] * record;
  *out = rt_alloc((size_t)*bytes);
  if (!*out) return RT_E_MEMORY;
  for (int64_t i = 0; i < a->dim[0]; i++) {
    const rt_pickle *label = labels->list.item[i];
    if (!label || label->kind != RT_PICKLE_INT || label->integer < 0 || label->integer > 255)
      return rt_fail(RT_E_FORMAT, "%s: label %lld is no class number", path, (long long)i);
    uint8_t *to = *out + i * record;
    to[v->labels - 1] = (uint8_t)label->integer;
    memcpy(to + v->labels, (const uint8_t *)a->data + i * PIXELS, PIXELS);
  }
  return RT_OK;
}

rt_status rt_cifar_unpickle(const uint8_t *pickled, int64_t n, bool hundred, const char *path, uint8_t **out,
                            int64_t *bytes) {
  rt_arena arena = {0};
  rt_pickle *top;
  *out = NULL;
  rt_status s = rt_pickle_read(&arena, pickled, (size_t)n, path, &top, NULL);
  if (s == RT_OK) s = to_records(hundred ? &variant_100 : &variant_10, top, path, out, bytes);
  rt_arena_release(&arena);
  if (s == RT_OK) return RT_OK;
  rt_free(*out);
  *out = NULL;
  return s;
}

/* ---- a set ---- */

static const char *locate(rt_data *data, const char *inside, const char *name) {
  const char *path = rt_data_path(&data->arena, data->directory, name);
  if (path) return path;
  const char *directory = rt_arena_text(&data->arena, "%s/%s", data->directory, inside);
  return directory ? rt_data_path(&data->arena, directory, name) : NULL;
}

static rt_status read_pickled(const variant *v, const char *path, file *f, int64_t *n) {
  uint8_t *pickled;
  int64_t size;
  rt_status s = rt_data_slurp(path, 2 * MOST_RECORDS * (int64_t)PIXELS, &pickled, &size);
  if (s != RT_OK) return s;
  s = rt_cifar_unpickle(pickled, size, v == &variant_100, path, &f->bytes, n);
  rt_free(pickled);
  return s;
}

static rt_status read_file(rt_data *data, const variant *v, const char *name, file *f) {
  char stem[32];
  int64_t n;
  snprintf(stem, sizeof stem, "%.*s", (int)strcspn(name, "."), name);
  const char *path = locate(data, v->inside, name), *pickled = path ? NULL : locate(data, v->pickled, stem);
  if (!path && !pickled)
    return rt_fail(RT_E_IO, "%s: there is no %s in it or in %s/, nor %s in it or in %s/", data->directory, name,
                   v->inside, stem, v->pickled);
  rt_status s = rt_data_note_file(data, path ? path : pickled);
  if (s == RT_OK)
    s = path ? rt_data_slurp(path, MOST_RECORDS * (v->labels + PIXELS), &f->bytes, &n)
             : read_pickled(v, path = pickled, f, &n);
  return s == RT_OK ? rt_cifar_parse(f->bytes, n, v->labels, v->classes, path, &f->records) : s;
}

static rt_status fill(rt_data *data, const variant *v, const file *files) {
  data->dtype = RT_U8;
  data->channels = 3;
  data->height = data->width = SIDE;
  data->classes = v->classes;
  data->class_name = (const char **)v->class_name;
  for (int i = 0; i < v->files; i++) data->given[i < v->train ? RT_TRAIN : RT_TEST] += files[i].records;
  rt_status s = rt_data_reserve(data);
  if (s != RT_OK) return s;
  int64_t id = 0;
  for (int i = 0; i < v->files; i++) {
    const uint8_t *p = files[i].bytes;
    for (int64_t k = 0; k < files[i].records; k++, id++, p += v->labels + PIXELS) {
      data->label[id] = p[v->labels - 1];
      memcpy(data->pixel + id * PIXELS, p + v->labels, PIXELS);
    }
  }
  return RT_OK;
}

static rt_status open(rt_data *data, const void *opts) {
  const rt_data_pictures *o = opts;
  const variant *v = data->row->variant;
  file files[8] = {0};
  rt_status s = RT_OK;
  for (int i = 0; i < v->files && s == RT_OK; i++) s = read_file(data, v, data->row->file[i].name, &files[i]);
  if (s == RT_OK) s = fill(data, v, files);
  if (s == RT_OK) s = rt_data_scale(data, o->size);
  for (int i = 0; i < v->files; i++) rt_free(files[i].bytes);
  return s;
}

static const rt_data_file files_10[] = {
    {"data_batch_1.bin", 30730000, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
    {"data_batch_2.bin", 30730000, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
    {"data_batch_3.bin", 30730000, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
    {"data_batch_4.bin", 30730000, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
    {"data_batch_5.bin", 30730000, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"},
    {"test_batch.bin", 30730000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"},
};
static const rt_data_file files_100[] = {
    {"train.bin", 153700000, "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"},
    {"test.bin", 30740000, "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"},
};

const rt_data_row rt_data_row_cifar10 = {
    .name = "cifar10",
    .summary = "60,000 colour images of animals and vehicles, 32x32, 10 classes",
    .archive = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    .file = files_10,
    .files = 6,
    .options = table,
    .options_size = sizeof(rt_data_pictures),
    .variant = &variant_10,
    .augment = "crop=4 flip",
    .open = open,
};

const rt_data_row rt_data_row_cifar100 = {
    .name = "cifar100",
    .summary = "60,000 colour images of things and animals, 32x32, 100 classes",
    .archive = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    .file = files_100,
    .files = 2,
    .options = table,
    .options_size = sizeof(rt_data_pictures),
    .variant = &variant_100,
    .augment = "crop=4 flip",
    .open = open,
};
