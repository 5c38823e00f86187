/* Time one step of a model on synthetic data, or networks from files side by side. */
#include "bench_files.h"
#include "bench_int8.h"
#include "distill_step.h"
#include "network.h"
#include "weights.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *step_text = "train", *model_text, *options_text, *batch_text, *data_text, *data_options,
                  *input_text = "3x32x32", *precision_text, *kernels_text = "auto", *teacher_text, *teacher_options,
                  *teacher_file, *loss_text = "cross_entropy:weight=0.1 kd:weight=0.9,temperature=4",
                  *optimizer_text = "sgd";
static int64_t batch = 128, threads;
static double seconds = 10;
static bool as_json, per_layer, cached;

static const flag flags[] = {
    {"step", FLAG_TEXT, &step_text, "train|infer|distill",
     "what to time: a training step, the forward pass with batch norm folded, or a training step that learns from a "
     "teacher"},
    {"model", FLAG_TEXT, &model_text, "NAME",
     "a model of the table or an .onnx file (resnet18); with files: NAME:OPTIONS, where they don't say it"},
    {"options", FLAG_TEXT, &options_text, "TEXT", "its options, as in \"classes=100 stem=imagenet\""},
    {"input", FLAG_TEXT, &input_text, "CxHxW", "shape of one image (3x32x32)"},
    {"teacher-model", FLAG_TEXT, &teacher_text, "NAME", "the teacher of --step distill, a model of the table"},
    {"teacher-options", FLAG_TEXT, &teacher_options, "TEXT", "its options"},
    {"teacher", FLAG_TEXT, &teacher_file, "FILE", "a trained one instead, int8 or not, that runs in front of the step"},
    {"cached", FLAG_BOOL, &cached, NULL, "with --teacher: its outputs are there already, as from --cache-teacher"},
    {"loss", FLAG_TEXT, &loss_text, "TERMS",
     "of --step distill (\"cross_entropy:weight=0.1 kd:weight=0.9,temperature=4\")"},
    {"optimizer", FLAG_TEXT, &optimizer_text, "TEXT",
     "of a training step, with options of its own, as in \"muon muon_steps=3\" (sgd)"},
    {"batch", FLAG_TEXT, &batch_text, "N", "images a step (128); with files several, as in 1,64 (1)"},
    {"precision", FLAG_TEXT, &precision_text, "auto|fp32|bf16|int8",
     "auto: bf16 where the CPU has it (auto; of files fp32); int8: of --step infer, quantized on made-up images"},
    {"kernels", FLAG_TEXT, &kernels_text, "auto|direct|reference", "direct: convolutions without Winograd"},
    {"threads", FLAG_INT, &threads, "N", "as many as processors unless given"},
    {"seconds", FLAG_FLOAT, &seconds, "S",
     "how long to measure, after a warm-up (10); with files each and every batch"},
    {"data", FLAG_TEXT, &data_text, "NAME[:PATH]", "with files: accuracy on this data set's test images too"},
    {"data-options", FLAG_TEXT, &data_options, "TEXT", "its options"},
    {"per-layer", FLAG_BOOL, &per_layer, NULL, "print time, flops and bytes of every step"},
    {"json", FLAG_BOOL, &as_json, NULL, "one JSON object on standard output"},
    {0},
};

enum { MOST_STEPS = 100000, WARM_UP = 3, LEAST_STEPS = 5 };

typedef struct timing {
  double *step; /* seconds, sorted */
  int n;
  double flops;
} timing;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Values with mean 0 and variance 1, the same every time. */
static void fill(float *x, int64_t n) {
  uint32_t state = 12345;
  for (int64_t i = 0; i < n; i++) {
    state = state * 1664525u + 1013904223u;
    x[i] = ((float)(state >> 8) * 0x1p-24f - 0.5f) * 3.4641016f;
  }
}

static rt_network *teacher; /* of --teacher */

/* What the teacher says first, where it isn't in the step's graph. */
static rt_status run_step(const network *net, rt_feed *feeds, int n) {
  const float *logits;
  bool hear = teacher && !(cached && feeds[n - 1].data);
  rt_status s = hear ? rt_network_run(teacher, feeds[0].data, batch, &logits) : RT_OK;
  if (s == RT_OK && hear) feeds[n - 1].data = logits;
  return s == RT_OK ? rt_plan_run(net->plan, feeds, n) : s;
}

static rt_status measure(const network *net, rt_feed *feeds, int n, timing *t) {
  rt_status s = RT_OK;
  double begin = 0;
  for (int i = -WARM_UP; s == RT_OK && i < MOST_STEPS; i++) {
    double start = now();
    if (i == 0) {
      begin = start;
      rt_plan_reset_profile(net->plan);
    }
    if (i >= LEAST_STEPS && start - begin > seconds) break;
    s = run_step(net, feeds, n);
    if (i >= 0) t->step[t->n++] = now() - start;
  }
  qsort(t->step, (size_t)t->n, sizeof *t->step, by_value);
  for (int i = 0; i < rt_plan_steps(net->plan); i++) {
    rt_step_info step;
    rt_plan_step(net->plan, i, &step);
    if (strstr(step.op, "conv2d") || strstr(step.op, "linear") || strcmp(step.op, "matmul") == 0)
      t->flops += step.flops;
  }
  return s;
}

static int print(const network *net, const timing *t, const char *precision) {
  double best = t->step[0], median = t->step[t->n / 2], p90 = t->step[(int)((t->n - 1) * 0.9)];
  rt_memory m = rt_plan_memory(net->plan);
  if (!as_json) {
    printf("%s %s, %s, batch %lld, %s, %d threads: %.1f images/s (best %.1f), step %.2f ms (best %.2f, p90 %.2f), %.0f "
           "Gflop/s, "
           "peak memory %.0f MB, arena %.0f MB\n",
           model_text, step_text, input_text, (long long)batch, precision, rt_threads(), (double)batch / median,
           (double)batch / best, median * 1e3, best * 1e3, p90 * 1e3, t->flops / median * 1e-9,
           (double)rt_peak_memory(false) / 1e6, (double)m.arena / 1e6);
    return EXIT_DONE;
  }
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "model", model_text);
  if (teacher_text || teacher_file) cJSON_AddStringToObject(o, "teacher", teacher_text ? teacher_text : teacher_file);
  cJSON_AddStringToObject(o, "step", step_text);
  cJSON_AddNumberToObject(o, "batch", (double)batch);
  cJSON *rate = cJSON_AddObjectToObject(o, "images_per_second"), *ms = cJSON_AddObjectToObject(o, "step_ms");
  cJSON_AddNumberToObject(rate, "best", (double)batch / best);
  cJSON_AddNumberToObject(rate, "median", (double)batch / median);
  cJSON_AddNumberToObject(ms, "best", best * 1e3);
  cJSON_AddNumberToObject(ms, "median", median * 1e3);
  cJSON_AddNumberToObject(ms, "p90", p90 * 1e3);
  cJSON_AddNumberToObject(o, "peak_memory_bytes", (double)rt_peak_memory(false));
  cJSON_AddNumberToObject(o, "arena_bytes", (double)m.arena);
  cJSON_AddNumberToObject(o, "gflops", t->flops / median * 1e-9);
  cJSON_AddStringToObject(o, "precision", precision);
  cJSON_AddNumberToObject(o, "threads", rt_threads());
  return print_json(o);
}

typedef enum precision { FP32, BF16, INT8 } precision;
static const char *const PRECISIONS[] = {"fp32", "bf16", "int8"};

static rt_status open_teacher(bool bf16, rt_kernels kernels, const int64_t *input, distill_step *step) {
  rt_network_info info;
  rt_network_options o = {
      .channels = input[0], .height = input[1], .width = input[2], .bf16 = bf16, .kernels = kernels};
  rt_status s = rt_network_open(teacher_file, &o, &teacher);
  if (s != RT_OK) return s;
  rt_network_describe(teacher, &info);
  step->fed = info.classes;
  return RT_OK;
}

static int open_step(network *net, bool training, precision in, rt_kernels kernels, const int64_t *input, int rank) {
  rt_plan_options plan = {.profile = per_layer, .kernels = kernels};
  distill_step step = {model_text, options_text, teacher_text, teacher_options, loss_text, optimizer_text, 0};
  bool taught = teacher_text || teacher_file;
  if (in == INT8) return bench_int8_open(net, model_text, options_text, input, rank, &plan);
  rt_status s = teacher_file ? open_teacher(in == BF16, kernels, input, &step) : RT_OK;
  if (s == RT_OK && taught) s = distill_step_open(net, &step, input, rank, in == BF16, &plan);
  if (s == RT_OK && !taught)
    s = network_open(net, model_text, options_text, input, rank, training ? PURPOSE_TRAIN : PURPOSE_INFER,
                     optimizer_text, in == BF16, &plan);
  return s == RT_OK ? EXIT_DONE : complain(s);
}

static int bench(bool training, precision in, rt_kernels kernels, const int64_t *input, int rank) {
  network net;
  int status = open_step(&net, training, in, kernels, input, rank);
  if (status != EXIT_DONE) return status;
  int64_t dim[8] = {batch}, n = 1;
  if (net.has_weights) rank = net.rank, input = net.input; /* a file's own shape counts */
  for (int i = 0; i < rank; i++) dim[i + 1] = input[i];
  float rate = 0.01f;
  rt_network_info info = {0};
  if (teacher) rt_network_describe(teacher, &info);
  int64_t logits[] = {batch, info.classes};
  rt_feed feeds[] = {
      {"x", rank + 1, dim, NULL}, {"target", 1, dim, NULL}, {"lr", 0, NULL, &rate}, {"teacher", 2, logits, NULL}};
  int n_feeds = training ? 3 + (teacher != NULL) : 1;
  rt_status s = rt_plan_bind(net.plan, feeds, n_feeds); /* refuses what doesn't fit before anything is allocated */
  if (s == RT_OK && !net.has_weights) s = rt_store_init(net.store, 1);
  timing t = {0};
  float *x = NULL;
  int64_t *target = NULL;
  if (s == RT_OK) {
    for (int i = 0; i <= rank; i++) n *= dim[i];
    x = malloc((size_t)n * sizeof *x);
    target = calloc((size_t)batch, sizeof *target);
    t.step = malloc(MOST_STEPS * sizeof *t.step);
  }
  status = EXIT_FAILED;
  if (s != RT_OK) {
    status = complain(s);
  } else if (!x || !target || !t.step) {
    complain_usage("out of memory for the synthetic batch");
  } else {
    fill(x, n);
    for (int64_t i = 0; i < batch; i++) target[i] = i % 2;
    feeds[0].data = x;
    feeds[1].data = target;
    s = measure(&net, feeds, n_feeds, &t);
    status = s == RT_OK ? print(&net, &t, PRECISIONS[in]) : complain(s);
    if (s == RT_OK && per_layer) bench_print_layers(net.plan);
  }
  free(x);
  free(target);
  free(t.step);
  network_close(&net);
  rt_network_free(teacher);
  return status;
}

static int bench_model(void) {
  int64_t input[8];
  char *end;
  static const char *const steps[] = {"train", "infer", "distill", NULL};
  int step;
  if (parse_choice("step", step_text, steps, &step) != EXIT_DONE) return EXIT_USAGE;
  bool training = step != 1;
  if ((step == 2) != (teacher_text || teacher_file) || (teacher_text && teacher_file))
    return complain_usage(
        "--step distill and --teacher-model (or --teacher FILE) belong together, as in --step distill "
        "--teacher-model resnet50 --model resnet18");
  if (cached && !teacher_file) return complain_usage("--cached goes with --teacher FILE, whose outputs it keeps");
  if (data_text) return complain_usage("bench: --data goes with files of weights");
  if (batch_text) batch = strtoll(batch_text, &end, 10);
  if (batch_text && (end == batch_text || *end || batch < 1 || batch == INT64_MAX))
    return complain_usage("--batch %s: expected a whole number above 0", batch_text);
  int rank = parse_shape(input_text, input, 6);
  if (!rank) return EXIT_USAGE;
  if (teacher_file && rank != 3) return complain_usage("--input %s: a teacher's file takes images, CxHxW", input_text);
  bool bf16 = false, int8 = strcmp(precision_text, "int8") == 0;
  int kernels;
  if (int8 && training) return complain_usage("bench: --precision int8 is for --step infer: training is fp32 or bf16");
  if (set_threads(threads) != EXIT_DONE || (!int8 && parse_precision(precision_text, &bf16) != EXIT_DONE) ||
      parse_choice("kernels", kernels_text, KERNELS, &kernels) != EXIT_DONE)
    return EXIT_USAGE;
  return bench(training, int8 ? INT8 : bf16 ? BF16 : FP32, (rt_kernels)kernels, input, rank);
}

static int run(const char *const *arguments, int n) {
  if (!(seconds >= 0 && seconds <= 86400))
    return complain_usage("--seconds %g: expected a number from 0 to 86400", seconds);
  if (!n) {
    if (!model_text) model_text = "resnet18";
    if (!precision_text) precision_text = "auto";
    return bench_model();
  }
  weights.model = model_text;
  weights.precision = precision_text ? precision_text : "fp32";
  weights.kernels = kernels_text;
  weights.threads = threads;
  const bench_files o = {.batches = batch_text ? batch_text : "1",
                         .seconds = seconds,
                         .per_layer = per_layer,
                         .json = as_json,
                         .data = data_text,
                         .data_options = data_options};
  return bench_files_run(arguments, n, &o);
}

const command command_bench = {
    .name = "bench",
    .arguments = "[FILE...]",
    .summary = "time networks from files side by side, or a step of a model on synthetic data",
    .example = "retort bench a.pth a_int8.pth --batch 1,64; retort bench --step train --model resnet18",
    .flags = flags,
    .most = MOST_ARGUMENTS,
    .run = run,
};
