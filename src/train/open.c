/* From a file of weights to a network: what its metadata say, what the caller says, and whether they agree. Metadata come
 * from strangers: every text is short, one line, and checked before it is believed. */
#include "base/alloc.h"
#include "data/data.h"
#include "format/format.h"
#include "model/model.h"
#include "onnx/onnx.h"
#include "record/record.h"
#include "train/network.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MOST = 1000, CLASSES_MOST = 1 << 16, NAME_MOST = 200, SIDE_MOST = 1 << 14, CHANNELS_MOST = 1 << 12 };

/* One of our keys, "" where the file doesn't have it. */
static rt_status told(const rt_file *file, const char *key, const char **out) {
  const char *text = rt_file_metadata(file, key);
  *out = text ? text : "";
  if (strlen(*out) <= TEXT_MOST && rt_printable(*out, false)) return RT_OK;
  return rt_fail(RT_E_FORMAT, "its metadata \"%s\" is no line of at most %d characters", key, TEXT_MOST);
}

/* ---- the model and its options ---- */

static bool says_classes(const char *options) {
  for (const char *p = options; (p = strstr(p, "classes=")); p++)
    if (p == options || p[-1] == ' ') return true;
  return false;
}

static rt_status choose_model(rt_network *n, const rt_file *file, const rt_network_options *o, int64_t classes) {
  const char *model, *options;
  rt_status s = told(file, "model", &model);
  if (s == RT_OK) s = told(file, "options", &options);
  if (s != RT_OK) return s;
  size_t length = strlen(model);
  if (o->model) {
    model = o->model;
    length = strcspn(model, ":");
    options = model[length] ? model + length + 1 : "";
  }
  if (!length)
    return rt_fail(RT_E_ARGUMENT, "it doesn't say which model its weights are of: name one, as in --model resnet20");
  n->info.model = rt_arena_text(&n->arena, "%.*s", (int)length, model);
  n->info.options = classes && !says_classes(options)
                        ? rt_arena_text(&n->arena, "%s%sclasses=%" PRId64, options, *options ? " " : "", classes)
                        : rt_arena_text(&n->arena, "%s", options);
  return n->info.model && n->info.options ? RT_OK : RT_E_MEMORY;
}

/* ---- names of the classes ---- */

static rt_status read_names(rt_network *n, const cJSON *list, int64_t *count) {
  const cJSON *item;
  int64_t names = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
  if (names < 1 || names > CLASSES_MOST)
    return rt_fail(RT_E_FORMAT, "its metadata \"classes\" is no list of 1 to %d names", CLASSES_MOST);
  const char **name = rt_arena_alloc(&n->arena, (size_t)names * sizeof *name);
  if (!name) return RT_E_MEMORY;
  *count = 0;
  cJSON_ArrayForEach(item, list) {
    if (!cJSON_IsString(item) || strlen(item->valuestring) > NAME_MOST || !rt_printable(item->valuestring, false))
      return rt_fail(RT_E_FORMAT, "its metadata \"classes\" is no list of names: element %" PRId64 " is no short text",
                     *count);
    name[*count] = rt_arena_text(&n->arena, "%s", item->valuestring);
    if (!name[(*count)++]) return RT_E_MEMORY;
  }
  n->info.class_name = name;
  return RT_OK;
}

/* *count is 0 where the file names none. */
static rt_status choose_names(rt_network *n, const rt_file *file, int64_t *count) {
  const char *text = rt_file_metadata(file, "classes");
  *count = 0;
  if (!text) return RT_OK;
  cJSON *list = cJSON_Parse(text);
  rt_status s = read_names(n, list, count);
  cJSON_Delete(list);
  return s;
}

/* ---- images ---- */

static bool parse_shape(const char *text, int64_t *shape) {
  for (int i = 0; i < 3; i++) {
    char *end;
    shape[i] = strtoll(text, &end, 10);
    if (end == text || *end != (i < 2 ? 'x' : '\0')) return false;
    text = end + 1;
  }
  return true;
}

static bool is_possible(const int64_t *shape) {
  return shape[0] > 0 && shape[0] <= CHANNELS_MOST && shape[1] > 0 && shape[1] <= SIDE_MOST && shape[2] > 0 &&
         shape[2] <= SIDE_MOST;
}

static rt_status choose_shape(rt_network *n, const rt_file *file, const rt_network_options *o) {
  int64_t shape[3] = {3, 32, 32};
  const char *text;
  rt_status s = told(file, "input", &text);
  if (s != RT_OK) return s;
  if (*text && !(parse_shape(text, shape) && is_possible(shape)))
    return rt_fail(RT_E_FORMAT, "its metadata \"input\" is \"%.60s\": expected a shape like 3x32x32", text);
  if (*text && o->channels && o->channels != shape[0])
    return rt_fail(RT_E_SHAPE, "its network takes images of %" PRId64 " channels, and these have %" PRId64, shape[0],
                   o->channels);
  if (o->channels) shape[0] = o->channels;
  if (o->height) shape[1] = o->height;
  if (o->width) shape[2] = o->width;
  if (!is_possible(shape))
    return rt_fail(RT_E_ARGUMENT, "images of %" PRId64 "x%" PRId64 "x%" PRId64 ": expected numbers from 1 to %d",
                   shape[0], shape[1], shape[2], SIDE_MOST);
  n->info.channels = shape[0];
  n->info.height = shape[1];
  n->info.width = shape[2];
  return RT_OK;
}

static rt_status choose_resize(rt_network *n, const rt_file *file, const rt_network_options *o) {
  static const char *const filters[] = {"bilinear", "bicubic"};
  rt_network_info *i = &n->info;
  const char *text;
  char *end;
  rt_status s = told(file, "resize", &text);
  if (s != RT_OK) return s;
  if (o->resize) text = o->resize;
  i->shorter = i->height < i->width ? i->height : i->width;
  i->filter = filters[0];
  if (!*text) return RT_OK;
  i->shorter = strtoll(text, &end, 10);
  if (end == text || i->shorter < 1 || i->shorter > SIDE_MOST || (*end && *end != ' '))
    return rt_fail(RT_E_ARGUMENT,
                   "resize \"%.60s\": expected the shorter side, 1 to %d, and perhaps a filter, as in "
                   "\"256 bicubic\"",
                   text, SIDE_MOST);
  if (!*end) return RT_OK;
  i->filter = NULL;
  for (int f = 0; f < 2; f++)
    if (strcmp(end + 1, filters[f]) == 0) i->filter = filters[f];
  return i->filter ? RT_OK : rt_fail(RT_E_UNKNOWN, "resize \"%.60s\": the filter is bilinear or bicubic", text);
}

/* As they are, in 0 to 1. */
static rt_status take_pixels(rt_network *n) {
  int64_t channels = n->info.channels;
  float *value = rt_arena_alloc(&n->arena, (size_t)(2 * channels) * sizeof *value);
  if (!value) return RT_E_MEMORY;
  for (int64_t c = 0; c < channels; c++) value[channels + c] = 1;
  n->info.mean = value;
  n->info.deviation = value + channels;
  return RT_OK;
}

static rt_status choose_normalisation(rt_network *n, const rt_file *file, const rt_network_options *o) {
  const char *mean, *std;
  rt_status s = told(file, "mean", &mean);
  if (s == RT_OK) s = told(file, "std", &std);
  if (s != RT_OK) return s;
  if (n->bytes && (o->mean || o->std))
    return rt_fail(RT_E_ARGUMENT, "it takes bytes and normalises them itself: leave mean and std out");
  if (n->bytes) return take_pixels(n);
  if (o->mean) mean = o->mean;
  if (o->std) std = o->std;
  if (!*mean && !*std) return RT_OK;
  if (!*mean || !*std)
    return rt_fail(RT_E_ARGUMENT, "there is a %s without a %s", *mean ? "mean" : "std", *mean ? "std" : "mean");
  int64_t channels = n->info.channels;
  float *value = rt_arena_alloc(&n->arena, (size_t)(2 * channels) * sizeof *value);
  if (!value) return RT_E_MEMORY;
  s = rt_parse_numbers(mean, channels, "mean", value);
  if (s == RT_OK) s = rt_parse_numbers(std, channels, "std", value + channels);
  for (int64_t c = 0; c < channels && s == RT_OK; c++)
    if (!(value[channels + c] > 0)) s = rt_fail(RT_E_ARGUMENT, "std=%.60s: expected numbers above 0", std);
  n->info.mean = value;
  n->info.deviation = value + channels;
  return s;
}

/* ---- the network ---- */

static rt_status build(rt_network *n) {
  rt_network_info *i = &n->info;
  rt_status s = rt_store_new(&n->store);
  if (s == RT_OK) s = rt_graph_new(n->store, &n->graph);
  if (s != RT_OK) return s;
  rt_graph *g = n->graph;
  rt_dim dim[] = {rt_symbol(g, "batch"), i->channels, i->height, i->width};
  rt_value *logits = rt_model(g, i->model, rt_input(g, "x", RT_F32, 4, dim), i->options);
  rt_mark_output(g, "logits", logits);
  s = rt_graph_status(g);
  if (s == RT_OK) i->classes = logits->type.dim[1];
  n->rank = 4;
  return s;
}

/* As the names of classes say, if they do. */
static rt_status check_classes(const rt_network *n, int64_t names) {
  if (!names || names == n->info.classes) return RT_OK;
  return rt_fail(RT_E_SHAPE, "it names %" PRId64 " classes, and its model tells %" PRId64 " apart", names,
                 n->info.classes);
}

rt_status rt_pass_inference(rt_graph **g) {
  rt_status s = rt_pass_eval(g, NULL);
  if (s == RT_OK) s = rt_pass_fold_batch_norm(g, NULL);
  return s == RT_OK ? rt_pass_fuse(g, NULL) : s;
}

rt_status rt_compile_evaluation(rt_graph **g, bool averages, bool bf16, const rt_plan_options *options, rt_plan **out) {
  rt_status s = rt_pass_eval(g, NULL);
  if (s == RT_OK && averages) s = rt_pass_ema(g);
  if (s == RT_OK) s = rt_pass_inference(g);
  if (s == RT_OK && bf16) s = rt_pass_cast(g, NULL, RT_BF16);
  if (s == RT_OK) s = rt_pass_layout(g);
  if (s == RT_OK) s = rt_pass_prune(g);
  return s == RT_OK ? rt_plan_new(*g, options, out) : s;
}

/* ---- an int8 network: the model's graph, lowered as the file's record says ---- */

/* Batch norms folded into weights and biases, which have no values yet. */
static rt_status fold(rt_network *n) {
  rt_store *store = NULL;
  rt_graph *folded = NULL;
  rt_status s = rt_pass_inference(&n->graph);
  if (s == RT_OK) s = rt_folded_new(n->graph, false, &store, &folded);
  if (s == RT_OK) rt_network_replace(n, store, folded);
  return s;
}

static rt_status lower(rt_network *n, const rt_record *record) {
  rt_store *int8 = NULL;
  rt_graph *graph = NULL;
  rt_status s = fold(n);
  if (s == RT_OK) s = rt_store_new(&int8);
  if (s == RT_OK) s = rt_record_lower(record, n->graph, int8, &graph);
  if (s != RT_OK) {
    rt_store_free(int8);
    return s;
  }
  rt_network_replace(n, int8, graph);
  return RT_OK;
}

static void note_target(rt_network *n, rt_target target) {
  n->info.int8_target = rt_target_name(target);
  n->info.int8_misfit = target != RT_TARGET_FBGEMM && rt_target_here() == RT_TARGET_FBGEMM;
}

/* Its images and what it said of them, for rt_network_verify. */
static rt_status declare_vectors(rt_network *n, const rt_file *file) {
  static const char *const names[] = {RT_VECTOR_IMAGES, RT_VECTOR_LOGITS};
  rt_status s = RT_OK;
  for (int i = 0; i < 2 && s == RT_OK; i++) {
    rt_file_info info;
    rt_var *var;
    rt_init zero = {RT_INIT_ZERO, 0, 0};
    if (rt_file_find(file, names[i], &info) != RT_OK) continue;
    rt_type type = rt_type_of(info.dtype, info.rank, info.dim);
    s = rt_store_declare(n->store, names[i], &type, RT_SEGMENT_STATISTIC, &zero, &var);
  }
  return s;
}

static rt_status load_weights(rt_network *n, rt_file *file, const rt_network_options *o) {
  const char *text = rt_file_metadata(file, "quantization");
  rt_record record = {0};
  rt_status s = RT_OK;
  if (!text && rt_file_metadata(file, RT_FOLDED)) s = fold(n);
  if (s != RT_OK) return rt_fail_in(s, "%s", file->path);
  if (!text) return rt_store_load(n->store, file, &o->load, &n->info.load); /* names the file itself */
  s = rt_record_parse(text, strlen(text), "its metadata \"quantization\"", &record);
  if (s == RT_OK && o->kernels == RT_KERNELS_DIRECT) rt_record_run_directly(&record);
  if (s == RT_OK) s = lower(n, &record);
  if (s == RT_OK) s = declare_vectors(n, file);
  if (s != RT_OK) {
    rt_record_release(&record);
    return rt_fail_in(s, "%s", file->path);
  }
  s = rt_store_load(n->store, file, &o->load, &n->info.load);
  if (s == RT_OK && (s = rt_record_check(&record, n->store)) != RT_OK) s = rt_fail_in(s, "%s", file->path);
  note_target(n, record.target);
  rt_record_release(&record);
  return s;
}

void rt_network_replace(rt_network *n, rt_store *store, rt_graph *graph) {
  rt_plan_free(n->plan);
  rt_graph_free(n->graph);
  rt_store_free(n->store);
  n->plan = NULL;
  n->graph = graph;
  n->store = store;
}

/* The model that the file or the caller names, without values. */
static rt_status build_model(rt_network *n, const rt_file *file, const rt_network_options *o) {
  int64_t names;
  rt_status s = choose_names(n, file, &names);
  if (s == RT_OK) s = choose_model(n, file, o, names ? names : o->classes);
  if (s == RT_OK) s = choose_shape(n, file, o);
  if (s == RT_OK) s = choose_resize(n, file, o);
  if (s == RT_OK) s = choose_normalisation(n, file, o);
  if (s == RT_OK) s = build(n);
  if (s == RT_OK) s = check_classes(n, names);
  return s == RT_OK ? s : rt_fail_in(s, "%s", file->path);
}

static rt_status open_model(rt_network *n, rt_file *file, const rt_network_options *o) {
  rt_status s = build_model(n, file, o);
  return s == RT_OK ? load_weights(n, file, o) : s;
}

rt_status rt_network_folded(const rt_file *file, rt_network **out) {
  rt_network *n = rt_alloc(sizeof *n);
  *out = NULL;
  if (!n) return RT_E_MEMORY;
  rt_status s = build_model(n, file, &(rt_network_options){0});
  if (s == RT_OK && (s = fold(n)) != RT_OK) s = rt_fail_in(s, "%s", file->path);
  if (s == RT_OK)
    *out = n;
  else
    rt_network_free(n);
  return s;
}

/* ---- ONNX: the graph is in the file ---- */

/* What its input and output are: images N×C×H×W, or vectors N×C, and N×classes. */
static rt_status describe(rt_network *n, const rt_network_options *o) {
  rt_network_info *i = &n->info;
  const rt_value *x = rt_find(n->graph, "x"), *logits = rt_find(n->graph, "logits");
  int64_t dim[4] = {0, 1, 1, 1};
  char tx[RT_TYPE_TEXT], ty[RT_TYPE_TEXT];
  rt_type_text(n->graph, &x->type, tx, sizeof tx);
  rt_type_text(n->graph, &logits->type, ty, sizeof ty);
  if (x->type.rank < 2 || x->type.rank > 4 || x->type.dtype != RT_F32)
    return rt_fail(RT_E_UNSUPPORTED, "its input is %s, and images are f32[batch, channels, height, width]", tx);
  if (logits->type.rank != 2 || logits->type.dtype != RT_F32 || logits->type.dim[1] < 1)
    return rt_fail(RT_E_UNSUPPORTED, "its first output is %s, and logits are f32[batch, classes]", ty);
  for (int d = 1; d < x->type.rank; d++) dim[d] = x->type.dim[d];
  if (dim[1] < 1 || dim[2] < 1 || dim[3] < 1)
    return rt_fail(RT_E_ARGUMENT, "its input is %s: say how large an image is, as in --input 3x224x224", tx);
  const int64_t wanted[] = {o->channels, o->height, o->width};
  for (int d = 0; d < 3; d++)
    if (wanted[d] && wanted[d] != dim[d + 1])
      return rt_fail(RT_E_SHAPE, "its input is %s, and these images are %" PRId64 "x%" PRId64 "x%" PRId64, tx,
                     wanted[0], wanted[1], wanted[2]);
  n->rank = x->type.rank;
  i->channels = dim[1];
  i->height = dim[2];
  i->width = dim[3];
  i->classes = logits->type.dim[1];
  i->model = "onnx";
  i->options = "";
  i->load = (rt_load_report){.loaded = n->store->n, .dialect = "onnx"};
  return is_possible(dim + 1) ? RT_OK : rt_fail(RT_E_UNSUPPORTED, "its input is %s: too large for images", tx);
}

static rt_status read_onnx(rt_network *n, rt_file *file, const rt_network_options *o) {
  const char *text;
  int64_t told_shape[3] = {0};
  rt_status s = told(file, "input", &text);
  if (s != RT_OK) return rt_fail_in(s, "%s", file->path);
  if (*text && !parse_shape(text, told_shape)) memset(told_shape, 0, sizeof told_shape);
  const int64_t given[] = {o->channels, o->height, o->width};
  rt_onnx_options options = {.network = true};
  for (int d = 0; d < 3; d++) options.dim[d] = given[d] > 0 ? given[d] : told_shape[d];
  rt_onnx *model;
  s = rt_onnx_open(file, &model);
  if (s != RT_OK) return s;
  s = rt_store_new(&n->store);
  if (s == RT_OK) s = rt_graph_new(n->store, &n->graph);
  if (s == RT_OK) s = rt_onnx_build(model, n->graph, &options);
  if (s == RT_OK) s = rt_onnx_load(model, n->store, true);
  n->bytes = s == RT_OK && rt_onnx_takes_bytes(model);
  n->input = rt_arena_text(&n->arena, "%s", s == RT_OK ? rt_onnx_input_name(model) : "");
  n->output = rt_arena_text(&n->arena, "%s", rt_onnx_output_name(model));
  if (s == RT_OK && (!n->input || !n->output)) s = RT_E_MEMORY;
  rt_onnx_free(model);
  return s;
}

/* An int8 model onto int8 kernels. Where none takes a layer, the graph stays as it came, in f32 on its grids. */
static rt_status lower_grids(rt_network *n) {
  rt_record record;
  rt_store *store;
  rt_graph *graph;
  if (!rt_record_has_grids(n->graph)) return RT_OK;
  rt_status s = rt_record_of_grids(&n->graph, &record, &store, &graph);
  if (s == RT_E_ARGUMENT) return RT_OK; /* a product reads what is on no grid */
  if (s != RT_OK) return s;
  if (rt_record_covers(&record)) {
    rt_network_replace(n, store, graph);
    note_target(n, record.target);
  } else {
    rt_graph_free(graph);
    rt_store_free(store);
  }
  rt_record_release(&record);
  return RT_OK;
}

static rt_status open_onnx(rt_network *n, rt_file *file, const rt_network_options *o) {
  int64_t names = 0;
  rt_status s = read_onnx(n, file, o); /* names the file itself */
  if (s != RT_OK) return s;
  if (o->model) s = rt_fail(RT_E_ARGUMENT, "it holds its model; none of the table can be laid over it");
  if (s == RT_OK) s = choose_names(n, file, &names);
  if (s == RT_OK) s = describe(n, o);
  if (s == RT_OK) s = choose_resize(n, file, o);
  if (s == RT_OK) s = choose_normalisation(n, file, o);
  if (s == RT_OK) s = check_classes(n, names);
  if (s == RT_OK) s = lower_grids(n);
  if (s == RT_OK) s = rt_vectors_read(n->store, file);
  return s == RT_OK ? s : rt_fail_in(s, "%s", file->path);
}

rt_status rt_network_load(const char *path, const rt_network_options *options, rt_network **out) {
  static const rt_network_options none;
  rt_file *file;
  *out = NULL;
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return s;
  rt_network *n = rt_alloc(sizeof *n);
  if (!options) options = &none;
  bool graph = strcmp(rt_file_form(file), "onnx") == 0;
  s = !n ? RT_E_MEMORY : graph ? open_onnx(n, file, options) : open_model(n, file, options);
  rt_file_free(file);
  if (s == RT_OK)
    *out = n;
  else
    rt_network_free(n);
  return s;
}

rt_status rt_network_open(const char *path, const rt_network_options *options, rt_network **out) {
  rt_network *n;
  rt_plan_options plan = {0};
  if (options) plan = (rt_plan_options){.kernels = options->kernels, .profile = options->profile};
  rt_status s = rt_network_load(path, options, &n);
  if (s == RT_OK) {
    n->tta = options ? options->tta : RT_TTA_NONE;
    s = rt_views_check(n->tta, n->info.height, n->info.width);
    if (s == RT_OK) s = rt_compile_evaluation(&n->graph, false, options && options->bf16, &plan, &n->plan);
    if (s != RT_OK) s = rt_fail_in(s, "%s", path);
  }
  if (s != RT_OK) rt_network_free(n);
  *out = s == RT_OK ? n : NULL;
  return s;
}

rt_status rt_network_draw(const rt_network_options *o, uint64_t seed, rt_network **out) {
  rt_network *n = rt_alloc(sizeof *n);
  *out = NULL;
  if (!n) return RT_E_MEMORY;
  rt_network_info *i = &n->info;
  size_t length = strcspn(o->model, ":");
  const char *options = o->model[length] ? o->model + length + 1 : "";
  i->model = rt_arena_text(&n->arena, "%.*s", (int)length, o->model);
  i->options = says_classes(options)
                   ? rt_arena_text(&n->arena, "%s", options)
                   : rt_arena_text(&n->arena, "classes=%" PRId64 "%s%s", o->classes, *options ? " " : "", options);
  i->channels = o->channels;
  i->height = o->height;
  i->width = o->width;
  rt_status s = i->model && i->options ? build(n) : RT_E_MEMORY;
  if (s == RT_OK) s = rt_store_init(n->store, seed);
  if (s != RT_OK) rt_network_free(n);
  *out = s == RT_OK ? n : NULL;
  return s;
}

void rt_network_free(rt_network *n) {
  if (!n) return;
  rt_plan_free(n->plan);
  rt_graph_free(n->graph);
  rt_store_free(n->store);
  rt_free(n->view);
  rt_arena_release(&n->arena);
  rt_free(n);
}

void rt_network_describe(const rt_network *n, rt_network_info *out) { *out = n->info; }

rt_plan *rt_network_plan(const rt_network *n) { return n->plan; }
