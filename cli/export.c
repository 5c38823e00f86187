/* A network as ONNX; a file's tensors in another form. */
#include "network.h"
#include "tensors.h"

#include <cjson/cJSON.h>
#include <stdio.h>

static const char *out_path, *model_text, *mean_text, *std_text, *input_text;
static int64_t opset;
static bool as_json, checked, preprocess, dequantize;

static const flag flags[] = {
    {"out", FLAG_TEXT, &out_path, "FILE",
     "what to write (also -o): .onnx, .pth, .safetensors, .npz or .npy, by the name"},
    {"model", FLAG_TEXT, &model_text, "NAME[:OPTIONS]", "to .onnx: which model, where the file doesn't say it"},
    {"input", FLAG_TEXT, &input_text, "CxHxW", "to .onnx: shape of one image, where the file doesn't say it (3x32x32)"},
    {"mean", FLAG_TEXT, &mean_text, "A,B,C", "to .onnx: of pixels in 0 to 1; the file's if it says it"},
    {"std", FLAG_TEXT, &std_text, "A,B,C", "the same for the deviation"},
    {"opset", FLAG_INT, &opset, "N", "to .onnx: 13 to 21 (17)"},
    {"preprocess", FLAG_BOOL, &preprocess, NULL, "to .onnx: it takes the bytes of images and normalises them itself"},
    {"check", FLAG_BOOL, &checked, NULL, "to .onnx: read it back and compare what both say of random images"},
    {"dequantize", FLAG_BOOL, &dequantize, NULL, "of an int8 file: its weights in fp32, batch norms folded"},
    {"json", FLAG_BOOL, &as_json, NULL, "what was written, as one JSON object on standard output"},
    {0},
};

static int print_tensors(void) {
  rt_file *file;
  rt_status s = rt_file_open(out_path, &file);
  if (s != RT_OK) return complain(s);
  int status = print_json(tensors_json(file, out_path));
  rt_file_free(file);
  return status;
}

static rt_status write_tensors(const char *path, int *tensors) {
  rt_file *file;
  if (dequantize) return rt_dequantize(path, out_path, tensors);
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return s;
  s = rt_file_convert(file, out_path);
  *tensors = rt_file_count(file);
  rt_file_free(file);
  return s;
}

static int convert(const char *path) {
  int tensors;
  rt_status s = write_tensors(path, &tensors);
  if (s != RT_OK) return complain(s);
  if (as_json) return print_tensors();
  printf("%s: %d tensors\n", out_path, tensors);
  return EXIT_DONE;
}

static int print_network(const rt_export_report *r) {
  if (as_json) {
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "file", out_path);
    cJSON_AddNumberToObject(o, "nodes", (double)r->nodes);
    cJSON_AddNumberToObject(o, "tensors", (double)r->tensors);
    if (checked) cJSON_AddNumberToObject(o, "difference", r->difference);
    return print_json(o);
  }
  printf("%s: %lld nodes, %lld tensors", out_path, (long long)r->nodes, (long long)r->tensors);
  if (checked) printf("; read back, its logits differ by at most %.1e", r->difference);
  printf("\n");
  return EXIT_DONE;
}

static int export_network(const char *path) {
  int64_t shape[8] = {0};
  int rank = input_text ? parse_shape(input_text, shape, 3) : 0;
  if (input_text && rank != 3) {
    if (rank) complain_usage("--input %s: expected channels, height and width, as in 3x32x32", input_text);
    return EXIT_USAGE;
  }
  rt_network_options n = {.model = model_text, .mean = mean_text, .std = std_text};
  if (rank) n.channels = shape[0], n.height = shape[1], n.width = shape[2];
  rt_export_options o = {.opset = opset, .preprocess = preprocess, .check = checked};
  rt_export_report report;
  rt_status s = rt_export(path, &n, out_path, &o, &report);
  return s == RT_OK ? print_network(&report) : complain(s);
}

static int run(const char *const *arguments, int n) {
  (void)n;
  if (!out_path) return complain_usage("export: -o FILE is missing: where to, and in which form");
  if (dequantize && is_onnx(out_path))
    return complain_usage("export: --dequantize writes weights: -o NAME.pth, .safetensors or .npz");
  if (is_onnx(out_path)) return export_network(arguments[0]);
  if (model_text || input_text || mean_text || std_text || opset || preprocess || checked)
    return complain_usage(
        "export: --model, --input, --mean, --std, --opset, --preprocess and --check go with -o NAME.onnx");
  return convert(arguments[0]);
}

const command command_export = {
    .name = "export",
    .arguments = "FILE",
    .summary = "a network as ONNX; or a file's tensors and metadata in another form",
    .example = "retort export resnet20.pth -o resnet20.onnx --check; retort export a.pth -o a.safetensors",
    .flags = flags,
    .least = 1,
    .most = 1,
    .run = run,
};
