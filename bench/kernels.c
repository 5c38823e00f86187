/* Every kernel that can run a convolution, side by side, for every distinct convolution of models: what the choice between
 * them (pays() in src/kernel) was made from. Runs what is in effect: ONEDNN_MAX_CPU_ISA=AVX2 measures as an older CPU.
 *   kernels [--precision bf16|fp32] [--batch N] [--input CxHxW] [--repeat N] [--cpu-time] [MODEL[:OPTIONS]...]
 * --cpu-time: what one thread spent running, for machines where others run too */
#include "base/alloc.h"
#include "base/clock.h"
#include "graph/graph.h"
#include "kernel/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST = 256 };

static int64_t batch = 128, input[3] = {3, 32, 32};
static int repeat = 7;
static rt_dtype dtype = RT_BF16;
static bool cpu_time;

typedef struct shape {
  rt_type x, w, y;
  rt_conv2d_attr attr;
  int times;
} shape;

static shape shapes[MOST];
static int n_shapes;

static void add_shape(const rt_node *n) {
  shape s = {.attr = *(const rt_conv2d_attr *)n->attr, .times = 1};
  const rt_type *from[] = {&n->in[0]->type, &n->in[1]->type, &n->out[0]->type};
  rt_type *to[] = {&s.x, &s.w, &s.y};
  for (int i = 0; i < 3; i++) {
    *to[i] = rt_type_of(dtype, 4, from[i]->dim);
    to[i]->layout = i == 1 ? RT_ROW_MAJOR : RT_CHANNELS_LAST;
  }
  for (int i = 0; i < n_shapes; i++)
    if (rt_same_shape(&s.x, &shapes[i].x) && rt_same_shape(&s.w, &shapes[i].w) && rt_same_shape(&s.y, &shapes[i].y)) {
      shapes[i].times++;
      return;
    }
  if (n_shapes < MOST) shapes[n_shapes++] = s;
}

/* "resnet18", or with options, "resnet18:width=16 classes=100". */
static bool collect(const char *text) {
  char model[64];
  const char *options = strchr(text, ':');
  snprintf(model, sizeof model, "%.*s", options ? (int)(options - text) : 63, text);
  rt_store *store = NULL;
  rt_graph *g = NULL;
  bool done = rt_store_new(&store) == RT_OK && rt_graph_new(store, &g) == RT_OK;
  if (done) {
    rt_model(g, model, rt_input(g, "x", RT_F32, 4, (rt_dim[]){batch, input[0], input[1], input[2]}),
             options ? options + 1 : NULL);
    done = rt_graph_status(g) == RT_OK;
  }
  for (int i = 0; done && i < g->n_nodes; i++)
    if (g->node[i]->op == RT_OP(conv2d)) add_shape(g->node[i]);
  if (!done) fprintf(stderr, "kernels: %s: %s\n", text, rt_error());
  rt_graph_free(g);
  rt_store_free(store);
  return done;
}

static void *filled(const rt_type *t) {
  int64_t n = rt_type_elements(t);
  char *data = aligned_alloc(64, (size_t)((rt_type_bytes(t) + 127) / 64 * 64));
  rt_tensor view = rt_tensor_view(t, data);
  for (int64_t i = 0; data && i < n; i++) rt_store_at(&view, i, (double)(i * 7919 % 2003) / 1001.0 - 1);
  return data;
}

static double now(void) {
  struct timespec t;
  if (!cpu_time || clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0) return rt_now();
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds of the fastest of several runs; 0 where the kernel can't run here. */
static double measure(const rt_kernel *kernel, rt_site *site, void *const *in_data, void *out_data) {
  rt_tensor in[4], out = rt_tensor_view(site->out, out_data);
  const rt_tensor *ins[4];
  void *packed[RT_MAX_PACKS] = {0};
  double best = 0;
  if (kernel->op != site->op || (kernel->accepts && !kernel->accepts(site))) return 0;
  if (kernel->prepare && kernel->prepare(site) != RT_OK) {
    rt_site_release(site, kernel);
    return 0;
  }
  for (int i = 0; i < site->n_in; i++) {
    in[i] = rt_tensor_view(site->in[i], in_data[i]);
    ins[i] = &in[i];
  }
  for (int i = 0; i < site->n_packs; i++) {
    rt_pack *pack = &site->pack[i];
    packed[i] = aligned_alloc(64, (size_t)((pack->bytes + 63) / 64 * 64));
    if (packed[i]) pack->run(pack->state, &in[pack->input], packed[i]);
    in[pack->input].data = packed[i];
  }
  void *workspace = aligned_alloc(64, (size_t)((site->workspace + 127) / 64 * 64));
  rt_kernel_call call = {site, ins, &out, workspace};
  for (int i = 0; i <= repeat && workspace; i++) {
    double begin = now();
    if (kernel->run(&call) != RT_OK) break;
    double spent = now() - begin;
    if (i && (best == 0 || spent < best)) best = spent;
  }
  free(workspace);
  for (int i = 0; i < RT_MAX_PACKS; i++) free(packed[i]);
  rt_site_release(site, kernel);
  return best;
}

static double compare(const shape *s, int what) {
  const rt_op *op[] = {RT_OP(conv2d), RT_OP(conv2d_backward_data), RT_OP(conv2d_backward_weight)};
  static const char *const label[] = {"forward", "data", "weight"};
  rt_type dw = rt_type_of(RT_F32, 4, s->w.dim);
  const rt_type *in[][3] = {{&s->x, &s->w}, {&s->y, &s->w, &s->x}, {&s->y, &s->x, &s->w}};
  const rt_type *out[] = {&s->y, &s->x, &dw};
  rt_site site = {.op = op[what], .attr = &s->attr, .name = "bench", .in = in[what], .out = out[what],
                  .n_in = what ? 3 : 2, .n_out = 1};
  void *data[3] = {0}, *result = filled(out[what]);
  for (int i = 0; i < site.n_in; i++) data[i] = filled(in[what][i]);
  double flops = 2 * (double)rt_type_elements(&s->y) * (double)(s->w.dim[1] * s->w.dim[2] * s->w.dim[3]);
  const rt_kernel *chosen = NULL, *k;
  double took = 0, best = 0;
  if (rt_kernel_choose(&site, RT_KERNELS_AUTO, &chosen) == RT_OK) rt_site_release(&site, chosen);
  printf("%4lld→%-4lld %lldx%lld/%lld %3lldx%-3lld %-8s", (long long)s->w.dim[1] * s->attr.groups, (long long)s->w.dim[0], (long long)s->w.dim[2],
         (long long)s->w.dim[3], (long long)s->attr.stride[0], (long long)s->y.dim[2], (long long)s->y.dim[3], label[what]);
  for (int i = 0; (k = rt_kernel_at(i)); i++) {
    double t = measure(k, &site, data, result);
    if (t <= 0) continue;
    printf("  %s%s %.3f ms %.0f Gflop/s", k == chosen ? "*" : "", k->name, t * 1e3, flops / t * 1e-9);
    if (k == chosen) took = t;
    if (best == 0 || t < best) best = t;
  }
  if (took > 1.05 * best) printf("  ! %.2f", took / best);
  printf("\n");
  fflush(stdout);
  for (int i = 0; i < 3; i++) free(data[i]);
  free(result);
  return took * s->times;
}

int main(int argc, char **argv) {
  int models = 0;
  for (int i = 1; i < argc; i++) {
    if (i + 1 < argc && strcmp(argv[i], "--precision") == 0)
      dtype = strcmp(argv[++i], "fp32") == 0 ? RT_F32 : RT_BF16;
    else if (i + 1 < argc && strcmp(argv[i], "--batch") == 0)
      batch = atoll(argv[++i]);
    else if (i + 1 < argc && strcmp(argv[i], "--repeat") == 0)
      repeat = atoi(argv[++i]);
    else if (i + 1 < argc && strcmp(argv[i], "--input") == 0)
      sscanf(argv[++i], "%ldx%ldx%ld", &input[0], &input[1], &input[2]);
    else if (strcmp(argv[i], "--cpu-time") == 0)
      cpu_time = rt_set_threads(1) == RT_OK;
    else if (argv[i][0] == '-' || !collect(argv[i]))
      return 2;
    else
      models++;
  }
  if (!models && !collect("resnet18")) return 2;
  char backend[64];
  printf("%s, %s, %d threads, %s, batch %lld; best of %d runs, * is what the plan takes\n", rt_cpu_get()->brand,
         rt_kernel_backend(backend, sizeof backend), rt_threads(), rt_dtype_name(dtype), (long long)batch, repeat);
  double total[3] = {0};
  for (int i = 0; i < n_shapes; i++)
    for (int what = 0; what < 3; what++) total[what] += compare(&shapes[i], what);
  printf("all layers: forward %.1f ms, by data %.1f ms, by weights %.1f ms\n", total[0] * 1e3, total[1] * 1e3, total[2] * 1e3);
  return 0;
}
