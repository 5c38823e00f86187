#include "weights.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

weights_options weights = {.precision = "fp32", .kernels = "auto", .tta = "none", .batch = 128};

static bool bf16;

int weights_open(const char *path, rt_network_options o, rt_network **out) {
  rt_network_info info;
  int kernels, tta;
  static const char *const views[] = {"none", "flip", "flip+translate", NULL};
  if (weights.batch < 1) return complain_usage("--batch %lld: expected a number above 0", (long long)weights.batch);
  if (parse_precision(weights.precision, &bf16) != EXIT_DONE || set_threads(weights.threads) != EXIT_DONE ||
      parse_choice("kernels", weights.kernels, KERNELS, &kernels) != EXIT_DONE ||
      parse_choice("tta", weights.tta, views, &tta) != EXIT_DONE)
    return EXIT_USAGE;
  o.model = weights.model;
  o.mean = weights.mean;
  o.std = weights.std;
  o.bf16 = bf16;
  o.kernels = (rt_kernels)kernels;
  o.tta = (rt_tta)tta;
  o.load = (rt_load_options){
      .allow_partial = weights.allow_partial, .rename = weights.rename.text, .n_rename = weights.rename.n};
  rt_status s = rt_network_open(path, &o, out);
  if (s != RT_OK) return complain(s);
  rt_network_describe(*out, &info);
  if (info.int8_misfit)
    fprintf(
        stderr,
        "%s: %s was quantized for %s, and this CPU adds products of int8 in 16 bits: results may be wrong; quantize it "
        "with --target fbgemm\n",
        PROGRAM, path, info.int8_target);
  if (info.load.missing || info.load.unexpected || info.load.mismatched)
    fprintf(stderr, "%s: %s: %d tensors loaded; %s\n", PROGRAM, path, info.load.loaded, info.load.text);
  return EXIT_DONE;
}

cJSON *weights_json(const char *path, const rt_network *network) {
  rt_network_info info;
  rt_network_describe(network, &info);
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "file", path);
  cJSON_AddStringToObject(o, "model", info.model);
  cJSON_AddStringToObject(o, "options", info.options);
  cJSON_AddStringToObject(o, "precision", info.int8_target ? "int8" : bf16 ? "bf16" : "fp32");
  return o;
}

/* ---- data for a network ---- */

enum { OPTIONS = 4096 };

/* Images of a folder have no size of their own: they are scaled and cut as the file says, unless told otherwise. */
static int folder_options(const rt_file *file, const char *given, char *text) {
  static const char spaces[] = " \t\r\n";
  const char *input = rt_file_metadata(file, "input"), *resize = rt_file_metadata(file, "resize");
  int64_t shape[4];
  size_t n = 0;
  if (input) {
    int rank = parse_shape(input, shape, 4);
    if (rank && rank != 3) complain_usage("the file's metadata \"input\" is no shape like 3x32x32");
    if (rank != 3) return EXIT_USAGE;
    n += (size_t)snprintf(text, OPTIONS, "channels=%lld size=%lld,%lld ", (long long)shape[0], (long long)shape[1],
                          (long long)shape[2]);
  }
  if (resize) {
    size_t number = strcspn(resize, spaces);
    const char *filter = resize + number + strspn(resize + number, spaces);
    n += (size_t)snprintf(text + n, OPTIONS - n, "shorter=%.*s ", (int)(number < 40 ? number : 40), resize);
    size_t word = strcspn(filter, spaces);
    if (word) n += (size_t)snprintf(text + n, OPTIONS - n, "filter=%.*s ", (int)(word < 40 ? word : 40), filter);
  }
  snprintf(text + n, OPTIONS - n, "%s", given ? given : "");
  return EXIT_DONE;
}

int weights_open_data(const char *path, const char *name, const char *options, rt_data **out) {
  char text[OPTIONS] = "";
  rt_file *file;
  rt_status s = RT_OK;
  int status = EXIT_DONE;
  bool folder = strncmp(name, "imagefolder:", 12) == 0;
  if (folder && (s = rt_file_open(path, &file)) == RT_OK) {
    status = folder_options(file, options, text);
    rt_file_free(file);
  }
  if (status != EXIT_DONE) return status;
  if (s == RT_OK) s = rt_data_open(name, folder ? text : options, out);
  return s == RT_OK ? EXIT_DONE : complain(s);
}
