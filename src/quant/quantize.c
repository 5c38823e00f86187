#include "quant/quant.h"

#include "base/alloc.h"
#include "format/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void rt_quantize_tell(const rt_quantizer *q, const char *format, ...) {
  char text[512];
  va_list list;
  va_start(list, format);
  vsnprintf(text, sizeof text, format, list);
  va_end(list);
  if (q->listen) q->listen(q->context, text, NULL);
}

/* ---- the float network ---- */

static rt_status open_data(rt_quantizer *q) {
  if (!*q->o.data) return RT_OK;
  return rt_data_open(q->o.data, *q->o.data_options ? q->o.data_options : NULL, &q->data);
}

rt_status rt_quantize_open(rt_quantizer *q, const char *path) {
  rt_network_options options = {.model = *q->o.network ? q->o.network : NULL,
                                .mean = *q->o.mean ? q->o.mean : NULL,
                                .std = *q->o.std ? q->o.std : NULL};
  rt_data_info d;
  if (q->data) {
    rt_data_describe(q->data, &d);
    options.channels = d.channels;
    options.height = d.height;
    options.width = d.width;
    options.classes = d.classes;
  }
  rt_status s = rt_network_load(path, &options, &q->network);
  if (s == RT_OK && q->network->info.int8_target)
    s = rt_fail(RT_E_ARGUMENT, "%s: it is quantized already, for %s; quantize the float network that it was made of",
                path, q->network->info.int8_target);
  if (s == RT_OK && q->network->input && !rt_is_onnx(q->o.out))
    s = rt_fail(RT_E_ARGUMENT, "%s: it brings its own graph, and only ONNX holds one: write NAME.onnx, not %s", path,
                q->o.out);
  if (s == RT_OK) s = rt_pass_inference(&q->network->graph);
  if (s == RT_OK) s = rt_folded_new(q->network->graph, true, &q->folded_store, &q->folded);
  return s;
}

/* ---- ranges ---- */

/* The first training images in an order drawn from the seed, as evaluation prepares them. */
static rt_status new_loader(const rt_quantizer *q, rt_loader **out) {
  char options[96];
  snprintf(options, sizeof options, "batch=%" PRId64 " shuffle=true order_seed=%" PRId64,
           q->o.batch < q->o.images ? q->o.batch : q->o.images, q->o.seed);
  return rt_network_loader(q->network, q->data, RT_TRAIN, options, out);
}

static rt_status keep_vectors(rt_quantizer *q, const float *x, int64_t n) {
  const rt_network_info *i = &q->network->info;
  q->vectors = n < 4 ? n : 4;
  q->image = rt_arena_copy(&q->arena, x, (size_t)(q->vectors * i->channels * i->height * i->width) * sizeof *x);
  return q->image ? RT_OK : RT_E_MEMORY;
}

rt_status rt_quantize_images(const rt_quantizer *q, int64_t n, float **x, int64_t *got) {
  const rt_network_info *i = &q->network->info;
  int64_t image = i->channels * i->height * i->width;
  rt_loader *loader = NULL;
  rt_batch b = {0};
  *got = 0;
  *x = rt_alloc_array((size_t)(n * image), sizeof **x);
  rt_status s = *x ? new_loader(q, &loader) : RT_E_MEMORY;
  while (s == RT_OK && *got < n && !b.last) {
    s = rt_loader_next(loader, &b);
    int64_t take = b.n < n - *got ? b.n : n - *got;
    if (s == RT_OK) memcpy(*x + *got * image, b.x, (size_t)(take * image) * sizeof **x);
    *got += s == RT_OK ? take : 0;
  }
  rt_loader_free(loader);
  return s;
}

static rt_status check_images(const rt_quantizer *q) {
  rt_data_info d;
  const rt_network_info *n = &q->network->info;
  rt_data_describe(q->data, &d);
  if (d.count[RT_TRAIN] < 1)
    return rt_fail(RT_E_ARGUMENT, "quantize: %s has no training images to calibrate on", d.kind);
  if (d.channels != n->channels || d.height != n->height || d.width != n->width)
    return rt_fail(RT_E_SHAPE,
                   "quantize: the network takes images of %" PRId64 "x%" PRId64 "x%" PRId64
                   ", and those of %s are %" PRId64 "x%" PRId64 "x%" PRId64,
                   n->channels, n->height, n->width, d.kind, d.channels, d.height, d.width);
  return RT_OK;
}

static rt_status calibrate(rt_quantizer *q) {
  rt_loader *loader = NULL;
  rt_status s = check_images(q);
  if (s == RT_OK) s = rt_ranges_new(q->folded, q->o.observer, q->o.observers, &q->arena, &q->ranges);
  if (s == RT_OK) s = new_loader(q, &loader);
  if (s == RT_OK) s = rt_ranges_observe(&q->ranges, q->folded, loader, q->o.images, &q->record.images);
  rt_loader_free(loader);
  if (s == RT_OK && q->record.images < 32)
    rt_quantize_tell(q, "calibrated on %" PRId64 " image%s only: ranges of a few hundred are steadier",
                     q->record.images, q->record.images == 1 ? "" : "s");
  return s == RT_OK ? rt_record_calibrate(&q->record, &q->ranges) : s;
}

/* ---- all of it ---- */

/* A record that was given, perhaps edited. */
static rt_status obey(rt_quantizer *q) {
  rt_status s = rt_record_open(q->o.record, &q->record);
  if (s == RT_OK && rt_is_onnx(q->o.out)) rt_record_run_directly(&q->record); /* ONNX has no such convolution */
  if (s == RT_OK && q->o.method == RT_METHOD_DYNAMIC && q->record.method != RT_METHOD_DYNAMIC)
    return rt_fail(RT_E_ARGUMENT, "%s: it is a record of static ranges, and method=dynamic has none: leave one out",
                   q->o.record);
  if (s != RT_OK || rt_record_covers(&q->record)) return s;
  return rt_fail(RT_E_ARGUMENT, "%s: it leaves no layer of %s in int8", q->o.record, q->o.model);
}

static rt_status equalize(rt_quantizer *q) {
  int pairs;
  rt_status s = rt_quantize_equalize(q, &pairs);
  if (s == RT_OK) rt_quantize_tell(q, "%d pairs of layers evened out", pairs);
  return s;
}

static rt_status decide(rt_quantizer *q) {
  if (*q->o.record) return obey(q);
  rt_decisions decisions = {.method = (rt_method)q->o.method,
                            .target = (rt_target)q->o.target,
                            .convolutions = q->o.convolutions,
                            .keep = q->o.keep,
                            .schemes = q->o.schemes};
  q->record.data = q->o.data;
  rt_status s = rt_record_decide(&q->record, q->folded, &decisions);
  if (s == RT_OK && (q->o.equalize || q->o.correct_bias)) s = rt_quantize_keep(q);
  if (s == RT_OK && q->o.equalize) s = equalize(q);
  if (s == RT_OK && q->o.method == RT_METHOD_STATIC) s = calibrate(q);
  if (s == RT_OK) s = rt_record_settle(&q->record, q->folded);
  if (s == RT_OK && q->o.correct_bias) s = rt_quantize_correct(q);
  bool winograd = q->o.winograd && q->o.method == RT_METHOD_STATIC && !rt_is_onnx(q->o.out);
  return s == RT_OK && winograd ? rt_quantize_winograd(q) : s;
}

static rt_status finish(rt_quantizer *q, char **report) {
  rt_network *int8 = NULL;
  rt_status s = RT_OK;
  if (q->data) {
    float *x = NULL;
    int64_t n;
    s = rt_quantize_images(q, 4, &x, &n);
    if (s == RT_OK) s = keep_vectors(q, x, n);
    rt_free(x);
  }
  if (s == RT_OK) s = rt_quantize_form(q, &q->record, false, &int8);
  if (s == RT_OK && q->data) s = rt_quantize_measure(q, int8);
  if (s == RT_OK) s = rt_quantize_write(q, int8);
  if (s == RT_OK && *q->o.save_record) s = rt_record_save(&q->record, q->o.save_record);
  rt_network_free(int8);
  return s == RT_OK && report ? rt_quantize_report_json(q, report) : s;
}

static rt_status run(rt_quantizer *q, char **report) {
  rt_status s = rt_is_onnx(q->o.out) ? RT_OK : rt_file_check_name(q->o.out);
  if (s == RT_OK) s = open_data(q);
  if (s == RT_OK) s = rt_quantize_open(q, q->o.model);
  if (s == RT_OK && q->o.method == RT_METHOD_QAT) s = rt_quantize_train(q);
  if (s != RT_OK || q->interrupted) return s;
  s = decide(q);
  if (s == RT_OK && q->o.max_drop > 0) s = rt_quantize_max_drop(q);
  if (s == RT_OK && q->o.analyze) s = rt_quantize_analyze(q);
  return s == RT_OK ? finish(q, report) : s;
}

rt_status rt_quantize(const rt_pair *settings, int n, rt_quantize_listener *listen, void *context, char **report) {
  rt_quantizer q = {.listen = listen, .context = context};
  if (report) *report = NULL;
  rt_status s = rt_quantize_parse(&q.o, settings, n, &q.arena, &q.training, &q.n_training);
  if (s == RT_OK && q.o.threads) s = rt_set_threads((int)q.o.threads);
  if (s == RT_OK) s = run(&q, report);
  rt_free(q.cost);
  rt_ranges_release(&q.ranges);
  rt_record_release(&q.record);
  rt_graph_free(q.untouched);
  rt_store_free(q.untouched_store);
  rt_graph_free(q.folded);
  rt_store_free(q.folded_store);
  rt_network_free(q.network);
  rt_network_free(q.original);
  rt_network_free(q.given);
  rt_data_free(q.data);
  rt_arena_release(&q.arena);
  return s;
}
