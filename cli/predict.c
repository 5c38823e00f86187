/* What a network says of images, or of an array. */
#include "weights.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *input_text, *resize_text, *npy_path, *out_path;
static int64_t top = 5;
static bool as_json;

static const flag flags[] = {
    {"npy", FLAG_TEXT, &npy_path, "FILE", "instead of images: an array, N×C×H×W in f32, that goes in as it is"},
    {"out", FLAG_TEXT, &out_path, "FILE", "with --npy: where the logits go, N×classes (also -o FILE)"},
    {"top", FLAG_INT, &top, "N", "classes to tell (5)"},
    {"input", FLAG_TEXT, &input_text, "CxHxW", "what images are cut to, where the file doesn't say it (3x32x32)"},
    {"resize", FLAG_TEXT, &resize_text, "TEXT",
     "what they are scaled to before: shorter side and filter, \"256 bilinear\"; else as the file says, or to fit"},
    WEIGHTS_FLAGS,
    {"json", FLAG_BOOL, &as_json, NULL, "one JSON object on standard output"},
    {0},
};

/* ---- images ---- */

typedef struct ranked {
  double probability;
  int64_t class;
} ranked;

static int by_probability(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->probability != y->probability) return x->probability < y->probability ? 1 : -1;
  return (x->class > y->class) - (x->class < y->class);
}

static void rank_classes(const float *logits, int64_t classes, ranked *r) {
  double sum = 0;
  float highest = logits[0];
  for (int64_t c = 1; c < classes; c++) highest = logits[c] > highest ? logits[c] : highest;
  for (int64_t c = 0; c < classes; c++) {
    r[c] = (ranked){exp((double)logits[c] - (double)highest), c};
    sum += r[c].probability;
  }
  for (int64_t c = 0; c < classes; c++) r[c].probability /= sum;
  qsort(r, (size_t)classes, sizeof *r, by_probability);
}

static const char *class_name(const rt_network_info *n, int64_t c, char *number, size_t size) {
  if (n->class_name) return n->class_name[c];
  snprintf(number, size, "class %lld", (long long)c);
  return number;
}

static void print_ranks(const char *path, const rt_network_info *n, const ranked *r) {
  char number[32];
  printf("%s\n", path);
  for (int64_t i = 0; i < top && i < n->classes; i++)
    printf("  %6.2f %%  %s\n", 100 * r[i].probability, class_name(n, r[i].class, number, sizeof number));
}

static void add_ranks(cJSON *list, const char *path, const rt_network_info *n, const ranked *r) {
  char number[32];
  cJSON *item = cJSON_CreateObject();
  cJSON_AddStringToObject(item, "image", path);
  cJSON *tops = cJSON_AddArrayToObject(item, "top");
  for (int64_t i = 0; i < top && i < n->classes; i++) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddNumberToObject(one, "class", (double)r[i].class);
    cJSON_AddStringToObject(one, "name", class_name(n, r[i].class, number, sizeof number));
    cJSON_AddNumberToObject(one, "probability", r[i].probability);
    cJSON_AddItemToArray(tops, one);
  }
  cJSON_AddItemToArray(list, item);
}

/* As a data set's images are evaluated: scaled, the centre cut out, normalised. */
static rt_status look_at(rt_network *network, const rt_network_info *n, const char *path, float *x, ranked *r) {
  rt_image image;
  const float *logits;
  rt_status s = rt_image_read(path, n->channels, &image);
  if (s != RT_OK) return s;
  s = rt_image_input(&image, n->shorter, n->filter, n->mean, n->deviation, n->channels, n->height, n->width, x);
  rt_image_release(&image);
  if (s == RT_OK) s = rt_network_run(network, x, 1, &logits);
  if (s == RT_OK) rank_classes(logits, n->classes, r);
  return s;
}

static int predict_images(const char *file, rt_network *network, const char *const *paths, int count) {
  rt_network_info n;
  rt_network_describe(network, &n);
  if (!n.mean)
    return complain_usage("%s doesn't say with which mean and std its images were normalised: give --mean and --std",
                          file);
  float *x = malloc((size_t)(n.channels * n.height * n.width) * sizeof *x);
  ranked *r = malloc((size_t)n.classes * sizeof *r);
  cJSON *o = weights_json(file, network), *list = cJSON_AddArrayToObject(o, "predictions");
  rt_status s = RT_OK;
  if (!x || !r) fprintf(stderr, "%s: out of memory\n", PROGRAM);
  for (int i = 0; i < count && x && r && s == RT_OK; i++) {
    s = look_at(network, &n, paths[i], x, r);
    if (s == RT_OK && as_json) add_ranks(list, paths[i], &n, r);
    if (s == RT_OK && !as_json) print_ranks(paths[i], &n, r);
  }
  int status = !x || !r ? EXIT_FAILED : s == RT_OK ? EXIT_DONE : complain(s);
  free(x);
  free(r);
  if (status == EXIT_DONE && as_json) return print_json(o);
  cJSON_Delete(o);
  return status;
}

/* ---- arrays ---- */

typedef struct array {
  rt_file *file;
  rt_file_info info;
} array;

/* The only array of a .npy, or of another file that has one. */
static int array_open(const char *path, array *a) {
  rt_status s = rt_file_open(path, &a->file);
  if (s != RT_OK) return complain(s);
  if (rt_file_count(a->file) == 1 && rt_file_entry(a->file, 0, &a->info) == RT_OK && a->info.dtype == RT_F32 &&
      a->info.rank == 4 && a->info.bytes > 0)
    return EXIT_DONE;
  rt_file_free(a->file);
  return complain_usage("%s: expected one array, N×C×H×W in f32, with something in it", path);
}

static rt_status run_array(rt_network *network, const rt_network_info *n, const float *x, int64_t count, float *y) {
  int64_t size = n->channels * n->height * n->width;
  rt_status s = RT_OK;
  for (int64_t at = 0; at < count && s == RT_OK; at += weights.batch) {
    const float *logits;
    int64_t some = count - at < weights.batch ? count - at : weights.batch;
    s = rt_network_run(network, x + at * size, some, &logits);
    for (int64_t i = 0; i < some * n->classes && s == RT_OK; i++) y[at * n->classes + i] = logits[i];
  }
  return s;
}

static int predict_array(rt_network *network, const array *a) {
  rt_network_info n;
  rt_network_describe(network, &n);
  int64_t dim[] = {a->info.dim[0], n.classes};
  float *x = malloc((size_t)a->info.bytes), *y = malloc((size_t)(dim[0] * n.classes) * sizeof *y);
  rt_array out = {.name = "logits", .dtype = RT_F32, .rank = 2, .dim = dim, .data = y};
  int status = EXIT_FAILED;
  if (!x || !y) {
    fprintf(stderr, "%s: out of memory\n", PROGRAM);
  } else {
    rt_status s = rt_file_read(a->file, a->info.name, x, (size_t)a->info.bytes);
    if (s == RT_OK) s = run_array(network, &n, x, dim[0], y);
    if (s == RT_OK) s = rt_file_write(out_path, &out, 1, NULL, 0);
    status = s == RT_OK ? EXIT_DONE : complain(s);
  }
  free(x);
  free(y);
  return status;
}

static int run_npy(const char *file) {
  array a;
  rt_network *network;
  if (!out_path) return complain_usage("predict: --out is missing: where the logits of %s go", npy_path);
  int status = array_open(npy_path, &a);
  if (status != EXIT_DONE) return status;
  rt_network_options o = {.channels = a.info.dim[1], .height = a.info.dim[2], .width = a.info.dim[3]};
  status = weights_open(file, o, &network);
  if (status == EXIT_DONE) {
    status = predict_array(network, &a);
    rt_network_free(network);
  }
  rt_file_free(a.file);
  return status;
}

static int run(const char *const *arguments, int n) {
  rt_network *network;
  int64_t shape[4] = {0};
  if (top < 1) return complain_usage("--top %lld: expected a number above 0", (long long)top);
  if ((n > 1) == (npy_path != NULL)) return complain_usage("predict: give images, or --npy FILE and --out FILE");
  if (npy_path) return run_npy(arguments[0]);
  if (out_path) return complain_usage("predict: --out goes with --npy");
  int rank = parse_shape(input_text ? input_text : "3x32x32", shape, 4);
  if (rank && rank != 3) complain_usage("--input %s: expected channels, height and width, as in 3x32x32", input_text);
  if (rank != 3) return EXIT_USAGE;
  rt_network_options o = {.resize = resize_text};
  if (input_text) o.channels = shape[0], o.height = shape[1], o.width = shape[2];
  int status = weights_open(arguments[0], o, &network);
  if (status != EXIT_DONE) return status;
  status = predict_images(arguments[0], network, arguments + 1, n - 1);
  rt_network_free(network);
  return status;
}

const command command_predict = {
    .name = "predict",
    .arguments = "FILE [IMAGE...]",
    .summary = "what a network says of images, or of an array of inputs",
    .example = "retort predict resnet20.pth cat.png dog.jpg; retort predict resnet20.pth --npy x.npy --out y.npy",
    .flags = flags,
    .least = 1,
    .most = MOST_ARGUMENTS,
    .run = run,
};
