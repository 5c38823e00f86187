#include "weights.h"

#include <cjson/cJSON.h>
#include <stdio.h>

weights_options weights = {.precision = "fp32", .kernels = "auto", .batch = 128};

static bool bf16;

int weights_open(const char *path, rt_network_options o, rt_network **out) {
  rt_network_info info;
  int kernels;
  if (weights.batch < 1) return complain_usage("--batch %lld: expected a number above 0", (long long)weights.batch);
  if (parse_precision(weights.precision, &bf16) != EXIT_DONE || set_threads(weights.threads) != EXIT_DONE ||
      parse_choice("kernels", weights.kernels, KERNELS, &kernels) != EXIT_DONE)
    return EXIT_USAGE;
  o.model = weights.model;
  o.mean = weights.mean;
  o.std = weights.std;
  o.bf16 = bf16;
  o.kernels = (rt_kernels)kernels;
  o.load = (rt_load_options){
      .allow_partial = weights.allow_partial, .rename = weights.rename.text, .n_rename = weights.rename.n};
  rt_status s = rt_network_open(path, &o, out);
  if (s != RT_OK) return complain(s);
  rt_network_describe(*out, &info);
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
  cJSON_AddStringToObject(o, "precision", bf16 ? "bf16" : "fp32");
  return o;
}
