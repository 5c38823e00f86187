#include "network.h"
#include "tensors.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *input_text = "3x32x32", *options_text;
static bool as_json, as_dot;

static const flag flags[] = {
    {"input", FLAG_TEXT, &input_text, "CxHxW", "shape of one image (3x32x32)"},
    {"options", FLAG_TEXT, &options_text, "TEXT", "the model's options, as in \"classes=100 stem=imagenet\""},
    {"dot", FLAG_BOOL, &as_dot, NULL, "the graph for Graphviz instead of the table"},
    {"json", FLAG_BOOL, &as_json, NULL, "one JSON object on standard output"},
    {0},
};

static int64_t elements(const rt_variable_info *v) {
  int64_t n = 1;
  for (int i = 0; i < v->rank; i++) n *= v->dim[i];
  return n;
}

/* Parameters of one layer: the variables "layer.something"; of the whole model for NULL. */
static int64_t count_parameters(const rt_store *store, const char *layer) {
  int64_t n = 0;
  for (int i = 0; i < rt_store_count(store); i++) {
    rt_variable_info v;
    if (rt_store_info(store, i, &v) != RT_OK || !v.parameter) continue;
    const char *dot = strrchr(v.name, '.');
    size_t prefix = dot ? (size_t)(dot - v.name) : 0;
    if (!layer || (strlen(layer) == prefix && strncmp(layer, v.name, prefix) == 0)) n += elements(&v);
  }
  return n;
}

static bool multiplies(const char *op) {
  return strcmp(op, "conv2d") == 0 || strcmp(op, "linear") == 0 || strcmp(op, "matmul") == 0;
}

static bool has_parameters(const char *op) {
  return strcmp(op, "conv2d") == 0 || strcmp(op, "linear") == 0 || strcmp(op, "batch_norm") == 0;
}

typedef struct row {
  rt_step_info step;
  char shape[96];
  int64_t parameters;
  double macs;
} row;

static row describe(const network *net, int i) {
  row r = {0};
  size_t n = 0;
  rt_plan_step(net->plan, i, &r.step);
  for (int d = 1; d < r.step.rank && n < sizeof r.shape; d++) /* without the batch */
    n += (size_t)snprintf(r.shape + n, sizeof r.shape - n, "%s%lld", d > 1 ? "x" : "", (long long)r.step.dim[d]);
  if (has_parameters(r.step.op)) r.parameters = count_parameters(net->store, r.step.name);
  r.macs = multiplies(r.step.op) ? r.step.flops / 2 : 0;
  return r;
}

static int print_layers(const network *net, const char *model) {
  cJSON *o = cJSON_CreateObject(), *layers = cJSON_AddArrayToObject(o, "layers");
  double macs = 0;
  for (int i = 0; i < rt_plan_steps(net->plan); i++) {
    row r = describe(net, i);
    cJSON *layer = cJSON_CreateObject();
    cJSON_AddStringToObject(layer, "name", r.step.name);
    cJSON_AddStringToObject(layer, "op", r.step.op);
    cJSON_AddStringToObject(layer, "shape", r.shape);
    cJSON_AddNumberToObject(layer, "parameters", (double)r.parameters);
    cJSON_AddNumberToObject(layer, "macs", r.macs);
    cJSON_AddItemToArray(layers, layer);
    macs += r.macs;
  }
  cJSON_AddStringToObject(o, "model", model);
  cJSON_AddNumberToObject(o, "parameters", (double)count_parameters(net->store, NULL));
  cJSON_AddNumberToObject(o, "macs", macs);
  return print_json(o);
}

static int print_table(const network *net, const char *model) {
  double macs = 0;
  printf("%-28s %-22s %-14s %12s %14s\n", "layer", "op", "output", "parameters", "MACs");
  for (int i = 0; i < rt_plan_steps(net->plan); i++) {
    row r = describe(net, i);
    printf("%-28s %-22s %-14s ", r.step.name, r.step.op, r.shape);
    r.parameters ? printf("%12lld ", (long long)r.parameters) : printf("%12s ", "");
    r.macs > 0 ? printf("%14.0f\n", r.macs) : printf("\n");
    macs += r.macs;
  }
  int64_t n = count_parameters(net->store, NULL);
  printf("%s: %lld parameters (%.1f MB in fp32), %.1f million MACs an image\n", model, (long long)n,
         (double)n * 4 / 1e6, macs / 1e6);
  return EXIT_DONE;
}

static int print_dot(const network *net) {
  char *text;
  rt_status s = rt_graph_dot(net->graph, &text);
  if (s != RT_OK) return complain(s);
  fputs(text, stdout);
  rt_text_free(text);
  return EXIT_DONE;
}

static int run(const char *const *arguments, int n) {
  (void)n;
  if (strpbrk(arguments[0], "./")) return inspect_file(arguments[0], as_json); /* names of models have neither */
  int64_t dim[8] = {1};
  network net;
  int rank = parse_shape(input_text, dim + 1, 6);
  if (!rank) return EXIT_USAGE;
  rt_plan_options plan = {.kernels = RT_KERNELS_REFERENCE}; /* nothing runs */
  rt_status s = network_open(&net, arguments[0], options_text, dim + 1, rank, PURPOSE_INSPECT, false, &plan);
  if (s != RT_OK) return complain(s);
  rt_feed feed = {.name = "x", .rank = rank + 1, .dim = dim};
  s = rt_plan_bind(net.plan, &feed, 1);
  int status = s != RT_OK ? complain(s)
               : as_dot   ? print_dot(&net)
               : as_json  ? print_layers(&net, arguments[0])
                          : print_table(&net, arguments[0]);
  network_close(&net);
  return status;
}

const command command_inspect = {
    .name = "inspect",
    .arguments = "MODEL|FILE",
    .summary = "a model's layers: shapes, parameters, multiply-adds; a file's tensors and metadata",
    .example = "retort inspect resnet18 --input 3x32x32; retort inspect resnet20.pth",
    .flags = flags,
    .least = 1,
    .most = 1,
    .run = run,
};
