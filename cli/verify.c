/* Does a network say here what it said where it was made? */
#include "weights.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static bool as_json;

static const flag flags[] = {
    {"threads", FLAG_INT, &weights.threads, "N", "as many as processors unless given"},
    {"kernels", FLAG_TEXT, &weights.kernels, "auto|direct|reference", "direct: convolutions without Winograd"},
    {"json", FLAG_BOOL, &as_json, NULL, "one JSON object on standard output"},
    {0},
};

/* Logits that differ by less than this part of their size come from another order of adding, not from another network. */
static const double SAME = 1e-3;

static int print(const char *path, const rt_network *network, const rt_verification *v) {
  bool good = v->classes_right == v->images && v->worst <= SAME * v->typical;
  if (as_json) {
    cJSON *o = weights_json(path, network);
    cJSON_AddNumberToObject(o, "images", (double)v->images);
    cJSON_AddNumberToObject(o, "classes_right", (double)v->classes_right);
    cJSON_AddNumberToObject(o, "largest_difference", v->worst);
    cJSON_AddNumberToObject(o, "size_of_logits", v->typical);
    cJSON_AddBoolToObject(o, "exact", v->exact);
    cJSON_AddBoolToObject(o, "good", good);
    int status = print_json(o);
    return good ? status : EXIT_FAILED;
  }
  if (good) {
    printf("%s: %lld images give the logits expected%s\n", path, (long long)v->images,
           v->exact ? ", to the last bit" : "");
    return EXIT_DONE;
  }
  printf("%s: %lld of %lld images get the class expected; logits are up to %.4g off, and %.4g in size: this CPU "
         "saturates sums "
         "(see --target of quantize), or the file was changed\n",
         path, (long long)v->classes_right, (long long)v->images, v->worst, v->typical);
  return EXIT_FAILED;
}

static int run(const char *const *arguments, int n) {
  (void)n;
  rt_network *network;
  rt_verification v;
  int status = weights_open(arguments[0], (rt_network_options){0}, &network);
  if (status != EXIT_DONE) return status;
  rt_status s = rt_network_verify(network, &v);
  if (s != RT_OK) {
    complain_usage("%s: %s", arguments[0], rt_error());
    status = EXIT_USAGE;
  } else {
    status = print(arguments[0], network, &v);
  }
  rt_network_free(network);
  return status;
}

const command command_verify = {
    .name = "verify",
    .arguments = "FILE",
    .summary = "replay the images that a file carries, and say what differs",
    .example = "retort verify resnet20_int8.pth",
    .flags = flags,
    .least = 1,
    .most = 1,
    .run = run,
};
