/* A network's graph as an ONNX file, and the comparison of both. */
#include "base/alloc.h"
#include "base/rng.h"
#include "format/format.h"
#include "onnx/onnx.h"
#include "train/network.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { PAIRS_MOST = 256, CHECK_BATCH = 2 };

/* Written as QDQ, an int8 network rounds before the bias and not after it: a step of a grid here and there. */
static const double CHECK_MOST = 1e-4, CHECK_MOST_INT8 = 0.05;

/* ---- metadata: the file's, and what was told besides ---- */

typedef struct metadata {
  rt_arena arena;
  rt_pair pair[PAIRS_MOST];
  int n;
} metadata;

static rt_status add(metadata *m, const char *key, const char *text) {
  for (int i = 0; i < m->n; i++)
    if (strcmp(m->pair[i].key, key) == 0) return RT_OK;
  if (m->n == PAIRS_MOST) return RT_OK;
  m->pair[m->n] = (rt_pair){rt_arena_text(&m->arena, "%s", key), rt_arena_text(&m->arena, "%s", text)};
  return m->pair[m->n].key && m->pair[m->n++].text ? RT_OK : RT_E_MEMORY;
}

static rt_status add_numbers(metadata *m, const char *key, const float *v, int64_t n) {
  rt_strbuf text = {0};
  rt_add_numbers(&text, v, n);
  rt_status s = text.failed ? RT_E_MEMORY : add(m, key, text.text);
  rt_strbuf_release(&text);
  return s;
}

/* What was told comes first: it counts. */
static rt_status collect(metadata *m, const char *path, const rt_network *n, bool preprocess) {
  const rt_network_info *i = &n->info;
  rt_strbuf shape = {0};
  rt_file *file;
  rt_strbuf_add(&shape, "%" PRId64 "x%" PRId64 "x%" PRId64, i->channels, i->height, i->width);
  rt_status s = shape.failed ? RT_E_MEMORY : RT_OK;
  if (s == RT_OK && i->mean) s = add_numbers(m, "mean", i->mean, i->channels);
  if (s == RT_OK && i->mean) s = add_numbers(m, "std", i->deviation, i->channels);
  if (s == RT_OK && n->rank == 4) s = add(m, "input", shape.text);
  rt_strbuf_release(&shape);
  if (s != RT_OK || (s = rt_file_open(path, &file)) != RT_OK) return s;
  for (int k = 0; k < rt_file_metadata_count(file) && s == RT_OK; k++) {
    rt_pair p;
    s = rt_file_metadata_at(file, k, &p);
    bool vector = strcmp(p.key, RT_VECTOR_IMAGES) == 0 || strcmp(p.key, RT_VECTOR_LOGITS) == 0;
    if (s == RT_OK && !(vector && preprocess)) s = add(m, p.key, p.text); /* its images would be others */
  }
  rt_file_free(file);
  return s;
}

/* ---- the check ---- */

typedef struct images {
  float *x, *pixel; /* as the network takes them, and before they were normalised */
} images;

/* Random images; of bytes, in levels of 1/255. */
static rt_status draw(const rt_network_info *i, bool bytes, images *out) {
  int64_t plane = i->height * i->width, n = CHECK_BATCH * i->channels * plane;
  out->x = rt_alloc_array((size_t)n, sizeof *out->x);
  out->pixel = rt_alloc_array((size_t)n, sizeof *out->pixel);
  if (!out->x || !out->pixel) return RT_E_MEMORY;
  for (int64_t k = 0; k < n; k++) {
    int64_t c = k / plane % i->channels;
    float u = rt_uniform((rt_rng){1, 2}, 3, (uint64_t)k);
    out->pixel[k] = floorf(u * 256) / 255;
    out->x[k] = bytes ? (out->pixel[k] - i->mean[c]) / i->deviation[c] : 4 * u - 2;
  }
  return RT_OK;
}

static double difference(const float *a, const float *b, int64_t n) {
  double most = 0, apart = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs((double)a[i] - (double)b[i]), v = fabs((double)a[i]);
    if (!(d <= apart)) apart = d; /* a NaN counts */
    if (v > most) most = v;
  }
  return most > 0 ? apart / most : apart;
}

/* What the written file says of the same images. */
static rt_status run_back(const char *path, const rt_network *n, const images *in, bool bytes, const float *logits,
                          double *out) {
  const rt_network_info *i = &n->info;
  int64_t dim[] = {CHECK_BATCH, i->channels, i->height, i->width};
  rt_feed feed = {.name = "x", .rank = n->rank, .dim = dim, .data = bytes ? in->pixel : in->x};
  rt_read_options o = {true, i->channels, i->height, i->width};
  rt_store *store;
  rt_graph *g = NULL;
  rt_plan *plan = NULL;
  rt_result r;
  rt_status s = rt_store_new(&store);
  if (s != RT_OK) return s;
  s = rt_graph_read(path, &o, store, &g);
  if (s == RT_OK) s = rt_compile_evaluation(&g, false, false, &(rt_plan_options){.kernels = RT_KERNELS_DIRECT}, &plan);
  if (s == RT_OK) s = rt_plan_run(plan, &feed, 1);
  if (s == RT_OK) s = rt_plan_result(plan, "logits", &r);
  if (s == RT_OK) *out = difference(logits, r.data, CHECK_BATCH * i->classes);
  rt_plan_free(plan);
  rt_graph_free(g);
  rt_store_free(store);
  return s;
}

static rt_status check(const char *path, const rt_network_options *network, const char *out, bool bytes,
                       double *apart) {
  rt_network_options o = network ? *network : (rt_network_options){0};
  rt_network *n;
  images in = {0};
  const float *logits;
  o.bf16 = false;
  o.kernels = RT_KERNELS_DIRECT;
  rt_status s = rt_network_open(path, &o, &n);
  if (s != RT_OK) return s;
  s = draw(&n->info, bytes, &in);
  if (s == RT_OK) s = rt_network_run(n, in.x, CHECK_BATCH, &logits);
  if (s == RT_OK) s = run_back(out, n, &in, bytes, logits, apart);
  double most = n->info.int8_target ? CHECK_MOST_INT8 : CHECK_MOST;
  rt_free(in.x);
  rt_free(in.pixel);
  rt_network_free(n);
  if (s != RT_OK || *apart <= most) return s;
  return rt_fail(RT_E_INTERNAL, "%s: what it says differs by %.2g from what %s says; at most %.0g is expected", out,
                 *apart, path, most);
}

/* ---- door ---- */

static rt_status write(rt_network *n, const char *path, const char *out, const rt_export_options *o, metadata *m) {
  const rt_network_info *i = &n->info;
  rt_onnx_write how = {
      .opset = o->opset, .input = n->input ? n->input : "x", .output = n->output ? n->output : "logits"};
  if (o->preprocess && !i->mean)
    return rt_fail(RT_E_ARGUMENT, "%s: with which mean and std its images were normalised isn't known: give both",
                   path);
  if (o->preprocess) how.channels = i->channels, how.mean = i->mean, how.deviation = i->deviation;
  rt_status s = collect(m, path, n, o->preprocess);
  how.metadata = m->pair;
  how.n_metadata = m->n;
  if (s == RT_OK) s = rt_pass_eval(&n->graph, NULL);
  if (s == RT_OK) s = rt_pass_prune(&n->graph);
  return s == RT_OK ? rt_onnx_export_graph(n->graph, out, &how) : s;
}

static rt_status count(const char *path, rt_export_report *report) {
  rt_file *file;
  rt_status s = rt_file_open(path, &file);
  if (s != RT_OK) return s;
  report->tensors = rt_file_count(file);
  report->nodes = rt_onnx_node_count(file);
  rt_file_free(file);
  return RT_OK;
}

rt_status rt_export(const char *path, const rt_network_options *network, const char *out,
                    const rt_export_options *options, rt_export_report *report) {
  static const rt_export_options usual;
  rt_export_report mine = {0};
  rt_network *n;
  if (!options) options = &usual;
  rt_network_options direct = network ? *network : (rt_network_options){0};
  direct.kernels = RT_KERNELS_DIRECT; /* ONNX has no other convolution */
  rt_status s = rt_network_load(path, &direct, &n);
  if (s != RT_OK) return s;
  metadata *m = rt_alloc(sizeof *m);
  s = m ? write(n, path, out, options, m) : RT_E_MEMORY;
  if (m) rt_arena_release(&m->arena);
  rt_free(m);
  rt_network_free(n);
  if (s == RT_OK) s = count(out, &mine);
  if (s == RT_OK && options->check) s = check(path, network, out, options->preprocess, &mine.difference);
  if (report) *report = mine;
  return s;
}
