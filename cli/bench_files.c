#include "bench_files.h"
#include "weights.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_FILES = 32, MOST_BATCHES = 16 };

typedef struct contender {
  const char *path;
  rt_network *network;
  int64_t file_bytes, weight_bytes, peak_bytes; /* peak: beyond what the process had before the file was opened */
  rt_score score;
  rt_bench bench[MOST_BATCHES];
} contender;

static int parse_batches(const char *text, int64_t *batch) {
  int n = 0;
  for (const char *p = text;; p++) {
    char *end;
    long long v = strtoll(p, &end, 10);
    if (end == p || v < 1 || v > INT32_MAX || (*end && *end != ',') || n == MOST_BATCHES) {
      complain_usage("--batch %s: expected up to %d numbers above 0 with commas between, as in 1,64", text,
                     MOST_BATCHES);
      return 0;
    }
    batch[n++] = v;
    if (!*end) return n;
    p = end;
  }
}

/* ---- alone: sizes, accuracy ---- */

static int measure_accuracy(contender *c, const rt_data *data) {
  rt_network_info info;
  rt_metrics *metrics;
  rt_network_describe(c->network, &info);
  rt_status s = rt_metrics_new(info.classes, &metrics);
  if (s == RT_OK) s = rt_evaluate(c->network, data, RT_TEST, weights.batch, metrics);
  if (s == RT_OK) rt_metrics_score(metrics, &c->score);
  rt_metrics_free(metrics);
  return s == RT_OK ? EXIT_DONE : complain(s);
}

/* The largest batch decides how much memory it takes. */
static int measure_memory(contender *c, int64_t batch) {
  rt_bench ignored;
  rt_status s = rt_bench_run(&c->network, 1, batch, 0, &ignored);
  if (s != RT_OK) return complain(s);
  rt_memory m = rt_plan_memory(rt_network_plan(c->network));
  c->weight_bytes = m.store + m.persistent;
  return EXIT_DONE;
}

static int open_one(contender *c, const char *path, const bench_files *o, const rt_data *data, int64_t batch) {
  struct stat file;
  rt_network_options options = {.profile = o->per_layer};
  if (data) {
    rt_data_info d;
    rt_data_describe(data, &d);
    options = (rt_network_options){
        .profile = o->per_layer, .channels = d.channels, .height = d.height, .width = d.width, .classes = d.classes};
  }
  c->path = path;
  rt_peak_memory(true);
  int64_t before = rt_peak_memory(false);
  int status = weights_open(path, options, &c->network);
  if (status == EXIT_DONE) status = measure_memory(c, batch);
  if (status != EXIT_DONE) return status;
  c->peak_bytes = rt_peak_memory(false) - before;
  if (stat(path, &file) == 0) c->file_bytes = file.st_size;
  return data ? measure_accuracy(c, data) : EXIT_DONE;
}

/* ---- the result ---- */

static void print_table(const contender *all, int n, const int64_t *batch, int batches, bool accuracy) {
  printf("%-32s %8s %10s %8s", "file", "MB", "weights MB", "peak MB");
  if (accuracy) printf(" %8s", "top-1");
  printf(" %6s %9s %9s %9s %10s %9s %8s\n", "batch", "p50 ms", "p90 ms", "p99 ms", "images/s", "mJ/image", "speed-up");
  for (int i = 0; i < n; i++) {
    const contender *c = &all[i];
    for (int k = 0; k < batches; k++) {
      const rt_bench *b = &c->bench[k];
      if (k == 0) {
        printf("%-32s %8.2f %10.2f %8.1f", c->path, (double)c->file_bytes / 1e6, (double)c->weight_bytes / 1e6,
               (double)c->peak_bytes / 1e6);
        if (accuracy) printf(" %6.2f %%", 100 * c->score.top1);
      } else {
        printf("%-32s %8s %10s %8s", "", "", "", "");
        if (accuracy) printf(" %8s", "");
      }
      printf(" %6lld %9.3f %9.3f %9.3f %10.1f", (long long)batch[k], b->p50 * 1e3, b->p90 * 1e3, b->p99 * 1e3,
             (double)batch[k] / b->p50);
      isnan(b->joules) ? printf(" %9s", "-") : printf(" %9.2f", b->joules / (double)batch[k] * 1e3);
      printf(" %7.2fx\n", all[0].bench[k].p50 / b->p50);
    }
  }
  if (isnan(all[0].bench[0].joules)) printf("energy is not available: the kernel's powercap counters can't be read\n");
}

static cJSON *bench_json(const contender *c, const contender *first, int k, int64_t batch) {
  const rt_bench *b = &c->bench[k];
  cJSON *o = cJSON_CreateObject(), *ms = cJSON_AddObjectToObject(o, "latency_ms");
  cJSON_AddNumberToObject(o, "batch", (double)batch);
  cJSON_AddNumberToObject(o, "runs", (double)b->runs);
  cJSON_AddNumberToObject(ms, "best", b->best * 1e3);
  cJSON_AddNumberToObject(ms, "p50", b->p50 * 1e3);
  cJSON_AddNumberToObject(ms, "p90", b->p90 * 1e3);
  cJSON_AddNumberToObject(ms, "p99", b->p99 * 1e3);
  cJSON_AddNumberToObject(o, "images_per_second", (double)batch / b->p50);
  if (isnan(b->joules))
    cJSON_AddStringToObject(o, "joules_per_image", "not available");
  else
    cJSON_AddNumberToObject(o, "joules_per_image", b->joules / (double)batch);
  cJSON_AddNumberToObject(o, "speed_up", first->bench[k].p50 / b->p50);
  cJSON_AddNumberToObject(o, "speed_up_best", first->bench[k].best / b->best);
  return o;
}

static int print_result_json(const contender *all, int n, const int64_t *batch, int batches, bool accuracy) {
  cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "files");
  cJSON_AddNumberToObject(o, "threads", rt_threads());
  for (int i = 0; i < n; i++) {
    const contender *c = &all[i];
    cJSON *item = weights_json(c->path, c->network), *runs = cJSON_AddArrayToObject(item, "runs");
    cJSON_AddNumberToObject(item, "file_bytes", (double)c->file_bytes);
    cJSON_AddNumberToObject(item, "weight_bytes", (double)c->weight_bytes);
    cJSON_AddNumberToObject(item, "peak_bytes", (double)c->peak_bytes);
    if (accuracy) {
      cJSON_AddNumberToObject(item, "images", (double)c->score.images);
      cJSON_AddNumberToObject(item, "correct", (double)c->score.correct);
    }
    for (int k = 0; k < batches; k++) cJSON_AddItemToArray(runs, bench_json(c, &all[0], k, batch[k]));
    cJSON_AddItemToArray(list, item);
  }
  return print_json(o);
}

void bench_print_layers(const rt_plan *plan) {
  double total = 0;
  int n = rt_plan_steps(plan);
  for (int i = 0; i < n; i++) {
    rt_step_info step;
    rt_plan_step(plan, i, &step);
    if (step.runs) total += step.seconds / (double)step.runs;
  }
  fprintf(stderr, "%-28s %-24s %-22s %9s %6s %9s %8s\n", "layer", "op", "kernel", "ms", "share", "Gflop/s", "GB/s");
  for (int i = 0; i < n; i++) {
    rt_step_info step;
    rt_plan_step(plan, i, &step);
    if (!step.runs) continue;
    double each = step.seconds / (double)step.runs;
    fprintf(stderr, "%-28s %-24s %-22s %9.3f %5.1f%% %9.1f %8.1f\n", step.name, step.op, step.kernel, each * 1e3,
            100 * each / total, step.flops / each * 1e-9, step.bytes / each * 1e-9);
  }
}

/* ---- together: time ---- */

static int measure_time(contender *all, int n, const int64_t *batch, int batches, const bench_files *o) {
  rt_network *networks[MOST_FILES];
  rt_bench result[MOST_FILES];
  for (int i = 0; i < n; i++) networks[i] = all[i].network;
  for (int k = 0; k < batches; k++) {
    rt_status s = rt_bench_run(networks, n, batch[k], o->seconds, result);
    if (s != RT_OK) return complain(s);
    for (int i = 0; i < n; i++) all[i].bench[k] = result[i];
    for (int i = 0; o->per_layer && i < n; i++) {
      fprintf(stderr, "%s, batch %lld\n", all[i].path, (long long)batch[k]);
      bench_print_layers(rt_network_plan(networks[i]));
    }
  }
  return EXIT_DONE;
}

static int64_t largest(const int64_t *batch, int n) {
  int64_t most = batch[0];
  for (int i = 1; i < n; i++) most = batch[i] > most ? batch[i] : most;
  return most;
}

int bench_files_run(const char *const *paths, int n, const bench_files *o) {
  static contender all[MOST_FILES];
  int64_t batch[MOST_BATCHES];
  rt_data *data = NULL;
  int batches = parse_batches(o->batches, batch);
  if (!batches) return EXIT_USAGE;
  if (n > MOST_FILES) return complain_usage("bench: %d files, and at most %d at a time", n, MOST_FILES);
  int status = o->data ? weights_open_data(paths[0], o->data, o->data_options, &data) : EXIT_DONE;
  for (int i = 0; i < n && status == EXIT_DONE; i++)
    status = open_one(&all[i], paths[i], o, data, largest(batch, batches));
  if (status == EXIT_DONE) status = measure_time(all, n, batch, batches, o);
  if (status == EXIT_DONE && o->json) status = print_result_json(all, n, batch, batches, data != NULL);
  if (status == EXIT_DONE && !o->json) print_table(all, n, batch, batches, data != NULL);
  for (int i = 0; i < n; i++) rt_network_free(all[i].network);
  rt_data_free(data);
  return status;
}
