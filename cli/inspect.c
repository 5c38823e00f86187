#include "graphviz.h"
#include "network.h"
#include "tensors.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *input_text = "3x32x32", *options_text, *svg_path;
static bool as_json, as_dot, layers_only;

static const flag flags[] = {
    {"input", FLAG_TEXT, &input_text, "CxHxW", "shape of one image (3x32x32)"},
    {"options", FLAG_TEXT, &options_text, "TEXT", "the model's options, as in \"classes=100 stem=imagenet\""},
    {"layers", FLAG_BOOL, &layers_only, NULL,
     "the names that losses can compare, and their shapes: nodes and groups of them"},
    {"dot", FLAG_BOOL, &as_dot, NULL, "the graph for Graphviz instead of the table"},
    {"svg", FLAG_TEXT, &svg_path, "FILE", "the graph as a picture, drawn by Graphviz's program dot"},
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

static void add_layers(cJSON *o, const network *net, const char *model) {
  cJSON *layers = cJSON_AddArrayToObject(o, "layers");
  double macs = 0;
  for (int i = 0; i < rt_plan_steps(net->plan); i++) {
    row r = describe(net, i);
    if (r.step.weights) continue;
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
}

static void print_table(const network *net, const char *model) {
  double macs = 0;
  printf("%-28s %-22s %-14s %12s %14s\n", "layer", "op", "output", "parameters", "MACs");
  for (int i = 0; i < rt_plan_steps(net->plan); i++) {
    row r = describe(net, i);
    if (r.step.weights) continue;
    printf("%-28s %-22s %-14s ", r.step.name, r.step.op, r.shape);
    r.parameters ? printf("%12lld ", (long long)r.parameters) : printf("%12s ", "");
    r.macs > 0 ? printf("%14.0f\n", r.macs) : printf("\n");
    macs += r.macs;
  }
  int64_t n = count_parameters(net->store, NULL);
  printf("%s: %lld parameters (%.1f MB in fp32), %.1f million MACs an image\n", model, (long long)n,
         (double)n * 4 / 1e6, macs / 1e6);
}

/* What rt_find_layer finds, without the batch's dimension. */
static int print_layers(const network *net) {
  const rt_layer_info *layer;
  int n;
  rt_status s = rt_graph_layers(net->graph, &layer, &n);
  if (s != RT_OK) return complain(s);
  for (int i = 0; i < n; i++) {
    printf("%-32s ", layer[i].name);
    for (int d = 1; d < layer[i].rank; d++) printf("%s%lld", d > 1 ? "x" : "", (long long)layer[i].dim[d]);
    printf("\n");
  }
  return EXIT_DONE;
}

/* For Graphviz, or by it. */
static int draw(const network *net) {
  char *text;
  int status = EXIT_DONE;
  rt_status s = rt_graph_dot(net->graph, &text);
  if (s != RT_OK) return complain(s);
  if (as_dot) fputs(text, stdout);
  if (svg_path) status = graphviz_svg(text, svg_path);
  rt_text_free(text);
  return status;
}

/* A model of the table, planned for one image of a shape; nothing runs. */
static rt_status open_model(network *net, const char *model, const char *options, const int64_t *shape, int rank) {
  rt_plan_options plan = {.kernels = RT_KERNELS_REFERENCE};
  int64_t dim[8] = {1};
  rt_status s = network_open(net, model, options, shape, rank, PURPOSE_INSPECT, NULL, false, &plan);
  if (s != RT_OK) return s;
  for (int i = 0; i < net->rank; i++) dim[i + 1] = net->input[i];
  rt_feed feed = {.name = "x", .rank = net->rank + 1, .dim = dim};
  s = rt_plan_bind(net->plan, &feed, 1);
  if (s != RT_OK) network_close(net);
  return s;
}

static int inspect_model(const char *name) {
  int64_t shape[8];
  network net;
  int rank = parse_shape(input_text, shape, 6);
  if (!rank) return EXIT_USAGE;
  rt_status s = open_model(&net, name, options_text, shape, rank);
  if (s != RT_OK) return complain(s);
  int status = EXIT_DONE;
  if (as_dot || svg_path) {
    status = draw(&net);
  } else if (layers_only) {
    status = print_layers(&net);
  } else if (as_json) {
    cJSON *o = cJSON_CreateObject();
    add_layers(o, &net, name);
    status = print_json(o);
  } else {
    print_table(&net, name);
  }
  network_close(&net);
  return status;
}

/* The layers of the model that a file says it holds, or holds itself. */
static rt_status open_told(network *net, const char *path) {
  int64_t given[8];
  int rank = parse_shape(input_text, given, 6);
  if (is_onnx(path)) return rank ? open_model(net, path, NULL, given, rank) : RT_E_ARGUMENT;
  rt_network *told;
  rt_network_info n;
  rt_status s = rt_network_open(path, NULL, &told);
  if (s != RT_OK) return s;
  rt_network_describe(told, &n);
  const int64_t shape[] = {n.channels, n.height, n.width};
  s = open_model(net, n.model, n.options, shape, 3);
  rt_network_free(told);
  return s;
}

static int inspect_file(const char *path) {
  rt_file *file;
  network net;
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return complain(s);
  const char *model = is_onnx(path) ? "onnx" : rt_file_metadata(file, "model");
  bool told = model && open_told(&net, path) == RT_OK;
  if (model && !told) fprintf(stderr, "%s: its layers can't be shown: %s\n", PROGRAM, rt_error());
  int status = EXIT_DONE;
  if (told && layers_only) {
    status = print_layers(&net);
  } else if (told && (as_dot || svg_path)) {
    status = draw(&net);
  } else if (as_json) {
    cJSON *o = tensors_json(file, path);
    if (told) add_layers(o, &net, model);
    status = print_json(o);
  } else {
    if (told) print_table(&net, model);
    if (told) printf("\n");
    tensors_print(file, path);
  }
  if (told) network_close(&net);
  rt_file_free(file);
  return status;
}

static int run(const char *const *arguments, int n) {
  (void)n;
  bool is_path = strpbrk(arguments[0], "./") != NULL; /* names of models have neither */
  return is_path ? inspect_file(arguments[0]) : inspect_model(arguments[0]);
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
