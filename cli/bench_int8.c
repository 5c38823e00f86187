#include "bench_int8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 512, TEXT = 256, IMAGES = 32 };

/* Files between the steps: what is timed is what everybody gets who quantizes a file. */
typedef struct files {
  char directory[PATH - 32], floating[PATH], int8[PATH];
} files;

static int make_directory(files *f) {
  const char *tmp = getenv("TMPDIR");
  snprintf(f->directory, sizeof f->directory, "%s/retort-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  if (!mkdtemp(f->directory)) {
    complain_usage("bench: %s can't be made, for an int8 file; TMPDIR may name another place", f->directory);
    return EXIT_FAILED;
  }
  snprintf(f->floating, sizeof f->floating, "%s/floating.safetensors", f->directory);
  snprintf(f->int8, sizeof f->int8, "%s/int8.safetensors", f->directory);
  return EXIT_DONE;
}

static void remove_files(const files *f) {
  unlink(f->floating);
  unlink(f->int8);
  rmdir(f->directory);
}

static rt_status write_floating(const files *f, const char *model, const char *options, const int64_t *input,
                                const char *shape) {
  network net;
  const rt_pair metadata[] = {{"model", model}, {"options", options ? options : ""}, {"input", shape}};
  rt_status s = network_open(&net, model, options, input, 3, PURPOSE_INSPECT, NULL, false, NULL);
  if (s != RT_OK) return s;
  s = rt_store_init(net.store, 1);
  if (s == RT_OK) s = rt_store_save(net.store, f->floating, RT_MODEL, metadata, 3);
  network_close(&net);
  return s;
}

static rt_status quantize(const files *f, const int64_t *input) {
  char data[TEXT], images[16];
  snprintf(data, sizeof data, "shape=%lld,%lld,%lld images=%d test_images=0 validation=0", (long long)input[0],
           (long long)input[1], (long long)input[2], IMAGES);
  snprintf(images, sizeof images, "%d", IMAGES);
  const rt_pair settings[] = {{"model", f->floating}, {"out", f->int8},   {"data", "synthetic"},
                              {"data_options", data}, {"images", images}, {"batch", "8"}};
  return rt_quantize(settings, sizeof settings / sizeof *settings, NULL, NULL, NULL);
}

int bench_int8_open(network *net, const char *model, const char *options, const int64_t *input, int rank,
                    const rt_plan_options *plan) {
  files f;
  char shape[64];
  *net = (network){0};
  if (is_onnx(model) || rank != 3)
    return complain_usage(is_onnx(model) ? "bench: --precision int8 is for models of the table: quantize %s, and bench "
                                           "the file that this makes"
                                         : "bench: --precision int8 %s: an image is CxHxW, as in --input 3x32x32",
                          model);
  int status = make_directory(&f);
  if (status != EXIT_DONE) return status;
  snprintf(shape, sizeof shape, "%lldx%lldx%lld", (long long)input[0], (long long)input[1], (long long)input[2]);
  rt_status s = write_floating(&f, model, options, input, shape);
  if (s == RT_OK) s = quantize(&f, input);
  const rt_network_options o = {.kernels = plan->kernels, .profile = plan->profile};
  if (s == RT_OK) s = rt_network_open(f.int8, &o, &net->opened);
  remove_files(&f);
  if (s != RT_OK) return complain(s);
  net->plan = rt_network_plan(net->opened);
  net->rank = rank;
  memcpy(net->input, input, (size_t)rank * sizeof *input);
  net->has_weights = true;
  return EXIT_DONE;
}
