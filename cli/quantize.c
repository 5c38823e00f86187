/* Quantizing a network, with one flag a setting of the library's. */
#include "interrupt.h"
#include "progress.h"
#include "settings.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

enum { OWN = 3 };

static bool quiet, as_json;
static settings all = {.count = rt_quantize_setting_count, .at = rt_quantize_setting};
static flag flags[MOST_SETTINGS + OWN + 1];

static void prepare(void) {
  int n = settings_flags(&all, flags, "model");
  flags[n++] = (flag){"json", FLAG_BOOL, &as_json, NULL, "the report, as one JSON object on standard output"};
  flags[n++] = (flag){"quiet", FLAG_BOOL, &quiet, NULL, "only the result, without the table"};
  flags[n] = (flag){0};
}

static bool tell(void *context, const char *text, const rt_news *training) {
  if (training) progress_tell(context, training);
  if (text && !quiet) fprintf(stderr, "%s: %s\n", PROGRAM, text);
  return !interrupted();
}

/* ---- the report ---- */

static const char *text_of(const cJSON *o, const char *key) {
  const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(o, key));
  return text ? text : "";
}

static double number_of(const cJSON *o, const char *key) {
  const cJSON *item = cJSON_GetObjectItem(o, key);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static void print_layers(const cJSON *o) {
  const cJSON *layer;
  bool analyzed = false;
  cJSON_ArrayForEach(layer, cJSON_GetObjectItem(o, "layers")) analyzed =
      analyzed || cJSON_HasObjectItem(layer, "weight_sqnr");
  printf("%-28s %-18s %-5s %-12s %10s %5s", "layer", "op", "in", "weights", "scale", "zero");
  if (analyzed) printf(" %9s %9s %9s %6s %8s %8s", "weight dB", "output dB", "alone dB", "steps", "fp32 ms", "int8 ms");
  printf("  why\n");
  cJSON_ArrayForEach(layer, cJSON_GetObjectItem(o, "layers")) {
    printf("%-28s %-18s %-5s %-12s", text_of(layer, "node"), text_of(layer, "op"), text_of(layer, "precision"),
           text_of(layer, "weights"));
    number_of(layer, "scale") > 0 ? printf(" %10.3g %5.0f", number_of(layer, "scale"), number_of(layer, "zero_point"))
                                  : printf(" %10s %5s", "", "");
    if (cJSON_HasObjectItem(layer, "weight_sqnr"))
      printf(" %9.1f %9.1f %9.1f %6.2g %8.4f %8.4f", number_of(layer, "weight_sqnr"), number_of(layer, "output_sqnr"),
             number_of(layer, "alone_sqnr"), number_of(layer, "steps"), number_of(layer, "float_ms"),
             number_of(layer, "int8_ms"));
    else if (analyzed)
      printf(" %9s %9s %9s %6s %8s %8s", "", "", "", "", "", "");
    printf("  %s%s\n", text_of(layer, "why"), text_of(layer, "winograd_why"));
  }
}

/* Of the levels that a layer's results are away from its fake-quantized twin's. */
static void print_twin(const cJSON *o) {
  const cJSON *layer;
  double most = -1;
  cJSON_ArrayForEach(layer, cJSON_GetObjectItem(o, "layers")) {
    if (cJSON_HasObjectItem(layer, "steps") && number_of(layer, "steps") > most) most = number_of(layer, "steps");
  }
  if (most >= 0)
    printf("; given the same levels, no layer differs from its fake-quantized twin by more than %.2g", most);
  if (number_of(o, "agree_twin") > 0) printf("; both networks say the same of %.0f", number_of(o, "agree_twin"));
}

static void print_result(const cJSON *o) {
  const cJSON *before = cJSON_GetObjectItem(o, "before"), *after = cJSON_GetObjectItem(o, "after");
  printf("%s: %.0f of %.0f nodes in int8 for %s", text_of(o, "file"), number_of(o, "int8"), number_of(o, "nodes"),
         text_of(o, "target"));
  if (number_of(o, "images") > 0) printf(", calibrated on %.0f images", number_of(o, "images"));
  printf("; %.2f MB, was %.2f", number_of(o, "bytes") / 1e6, number_of(o, "bytes_before") / 1e6);
  if (after)
    printf("; %.0f of %.0f test images are right, were %.0f in fp32 (%+.2f points); both say the same of %.0f",
           number_of(after, "correct"), number_of(after, "images"), number_of(before, "correct"),
           100 * (number_of(after, "top1") - number_of(before, "top1")), number_of(o, "agree"));
  print_twin(o);
  printf("\n");
}

static int run(const char *const *arguments, int n) {
  rt_pair pairs[MOST_SETTINGS + 1];
  char *text;
  int count;
  (void)n;
  int status = settings_collect(&all, pairs, &count);
  if (status != EXIT_DONE) return status;
  pairs[count++] = (rt_pair){"model", arguments[0]};
  progress p = {.quiet = quiet || as_json};
  catch_signals();
  rt_status s = rt_quantize(pairs, count, tell, &p, &text);
  progress_clear(&p);
  if (s != RT_OK) return complain(s);
  if (!text) {
    fprintf(stderr, "%s: interrupted; the same command goes on\n", PROGRAM);
    return EXIT_INTERRUPTED;
  }
  cJSON *o = cJSON_Parse(text);
  if (as_json) {
    puts(text);
  } else {
    if (!quiet) print_layers(o);
    print_result(o);
  }
  cJSON_Delete(o);
  rt_text_free(text);
  return EXIT_DONE;
}

const command command_quantize = {
    .name = "quantize",
    .arguments = "FILE",
    .summary = "a trained network in int8",
    .example = "retort quantize resnet20.pth --data cifar10:DIR -o resnet20_int8.pth",
    .flags = flags,
    .prepare = prepare,
    .least = 1,
    .most = 1,
    .run = run,
};
