/* Contrast (Tian, Krishnan, Isola 2020). Of each layer a trained affine map makes vectors of norm 1; a sample's vector by
 * one network is told from those of m other samples by the other one, taken from a queue of the last ones seen. Where there are
 * labels, only samples of other classes count, as in the paper's own runs: its own class's would be pushed away, too, itself from
 * an epoch ago among them.
 *   P = exp(v·w/τ)/Z, Z = n·mean of exp(v·w/τ) over all pairs of the first batch, n images in the data set, ε = 1e-7
 *   L = −1/N · Σ [ln P⁺/(P⁺ + m/n + ε) + Σ ln (m/n)/(P⁻ + m/n + ε)], in both directions
 * Queues and ln Z are statistics: they move with every batch, and a checkpoint holds them. */
#include "loss/crd.h"

typedef struct crd_options {
  rt_loss_options common;
  double temperature;
  int64_t width, queue, images;
} crd_options;

#define FIELD(name) offsetof(crd_options, name)

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    RT_LOSS_OPTION_LAYERS,
    {"temperature", RT_OPT_FLOAT, FIELD(temperature), "0.07", 0.02, 1e3, .help = "τ; may be scheduled"},
    {"width", RT_OPT_INT, FIELD(width), "128", 1, 1e5, .help = "of the vectors that are compared"},
    {"queue", RT_OPT_INT, FIELD(queue), "4096", 1, 1e7, .help = "negatives: vectors of the last samples seen"},
    {"images", RT_OPT_INT, FIELD(images), "50000", 1, 1e15, .help = "in the data set"},
    {0},
};

enum { STUDENT, TEACHER };
static const char *const side_name[] = {"student", "teacher"};

/* One network's: vectors of this batch, and of others before it. */
typedef struct side {
  rt_value *now, *queue;
} side;

rt_value *rt_crd_samples(const rt_loss_build *b, rt_value *log_p, rt_value *counts, double negatives, double images) {
  double noise = negatives / images, log_bound = log(noise + 1e-7);
  /* −ln P/(P + c) = softplus(ln c − ln P); −ln (m/n)/(P + c) = ln c − ln (m/n) + softplus(ln P − ln c) */
  rt_value *over = rt_loss_sub(b, log_p, rt_loss_number(b, log_bound));
  rt_value *positive = rt_loss_op(b, "slice", over, "axis=1 end=1"),
           *negative = rt_loss_op(b, "slice", over, "axis=1 start=1");
  positive = rt_loss_softplus(b, rt_loss_op(b, "neg", positive, NULL));
  negative = rt_loss_add(b, rt_loss_softplus(b, negative), rt_loss_number(b, log_bound - log(noise)));
  if (counts) negative = rt_loss_mul(b, negative, counts);
  return rt_loss_add(b, rt_loss_op(b, "sum", positive, "axes=1"), rt_loss_op(b, "sum", negative, "axes=1"));
}

static rt_value *statistic(const rt_loss_build *b, const char *name, const char *what, int rank, const int64_t *dim,
                           rt_init init) {
  return rt_statistic(b->graph, rt_loss_text(b, "adapter.%s.%s.%s", b->term, name, what), b->dtype, rank, dim, init);
}

/* The queue drops its oldest for this batch. */
static void enqueue(const rt_loss_build *b, rt_value *variable, rt_value *now, rt_value *queue, const crd_options *o) {
  rt_value *next = rt_loss_op2(b, "concat", now, queue, "axis=0");
  rt_loss_op2(b, "assign", variable,
              rt_loss_op(b, "slice", next, rt_loss_text(b, "axis=0 end=%lld", (long long)o->queue)), NULL);
}

/* Maps are averaged over their places. */
static side embed(const rt_loss_build *b, const rt_loss_pair *pair, int which, const crd_options *o) {
  rt_value *x = which == STUDENT ? pair->student : pair->teacher;
  const char *name = rt_loss_text(b, "%s.%s", pair->name, side_name[which]);
  int64_t in = rt_loss_dim(b, x, 1, "the channels of a layer");
  if (b->graph->status != RT_OK) return (side){0};
  rt_init init = {RT_INIT_NORMAL, 0, 1 / sqrt((double)in)}, random = {RT_INIT_NORMAL, 0, 1};
  rt_value *weight = rt_loss_parameter(b, rt_loss_text(b, "%s.weight", name), 2, (int64_t[]){o->width, in}, init);
  rt_value *queue = statistic(b, name, "queue", 2, (int64_t[]){o->queue, o->width}, random);
  rt_value *bias = rt_loss_parameter(b, rt_loss_text(b, "%s.bias", name), 1, &o->width, (rt_init){0});
  rt_value *mean = rt_loss_op(b, "mean", x, "axes=2,3");
  rt_value *v = rt_loss_add(b, rt_loss_product(b, mean, weight), bias);
  side s = {.now = rt_loss_unit(b, v, "1"), .queue = rt_loss_unit(b, queue, "1")};
  enqueue(b, queue, rt_loss_op(b, "detach", s.now, NULL), s.queue, o);
  return s;
}

/* N×K: 1 where a sample of the queue is of another class; NULL without labels. The queue of classes begins with none. */
static rt_value *other_classes(const rt_loss_build *b, const crd_options *o) {
  if (!b->labels) return NULL;
  rt_value *now = rt_loss_cast(b, b->labels);
  rt_value *queue = rt_statistic(b->graph, rt_loss_text(b, "adapter.%s.classes", b->term), b->dtype, 1, &o->queue,
                                 (rt_init){RT_INIT_CONSTANT, -2, 0});
  rt_value *same = rt_loss_op2(b, "equal", rt_loss_op(b, "reshape", now, "shape=0,1"), queue, NULL);
  enqueue(b, queue, now, queue, o);
  return rt_loss_sub(b, rt_loss_number(b, 1), rt_loss_cast(b, same));
}

/* ln Z of this direction, set by the first batch. */
static rt_value *log_z(const rt_loss_build *b, const char *name, rt_value *x, int64_t images) {
  rt_value *kept = statistic(b, name, "log_z", 0, NULL, (rt_init){0}),
           *set = statistic(b, name, "log_z_set", 0, NULL, (rt_init){0});
  rt_value *mean = rt_loss_op(b, "mean", rt_loss_op(b, "exp", rt_loss_op(b, "detach", x, NULL), NULL), NULL);
  rt_value *found = rt_loss_add(b, rt_loss_op(b, "log", mean, NULL), rt_loss_number(b, log((double)images)));
  rt_value *unset = rt_loss_sub(b, rt_loss_number(b, 1), set);
  rt_value *z = rt_loss_add(b, rt_loss_mul(b, kept, set), rt_loss_mul(b, found, unset));
  rt_loss_op2(b, "assign", kept, z, NULL);
  rt_loss_op2(b, "assign", set, rt_loss_add(b, set, unset), NULL);
  return z;
}

static rt_value *direction(const rt_loss_build *b, const char *name, rt_value *anchor, side other, rt_value *counts,
                           rt_value *T, const crd_options *o) {
  rt_value *positive = rt_loss_op(b, "sum", rt_loss_mul(b, anchor, other.now), "axes=1 keepdim");
  rt_value *both = rt_loss_op2(b, "concat", positive, rt_loss_product(b, anchor, other.queue), "axis=1");
  rt_value *batch = rt_loss_div(b, rt_loss_product(b, anchor, other.now), T);
  rt_value *log_p = rt_loss_sub(b, rt_loss_div(b, both, T), log_z(b, name, batch, o->images));
  return rt_crd_samples(b, log_p, counts, (double)o->queue, (double)o->images);
}

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const crd_options *o = given;
  rt_value *T = rt_loss_temperature(b, o->temperature), *counts = other_classes(b, o);
  rt_loss_value total = {0};
  for (int i = 0; i < b->pairs; i++) {
    const rt_loss_pair *pair = &b->pair[i];
    side s = embed(b, pair, STUDENT, o), t = embed(b, pair, TEACHER, o);
    rt_value *of_student = direction(b, rt_loss_text(b, "%s.student", pair->name), s.now, t, counts, T, o);
    rt_value *of_teacher = direction(b, rt_loss_text(b, "%s.teacher", pair->name), t.now, s, counts, T, o);
    total = rt_loss_more(b, total, rt_loss_samples(b, rt_loss_add(b, of_student, of_teacher)));
  }
  return total;
}

const rt_loss_row rt_loss_row_crd = {
    .name = "crd",
    .formula = "−1/N · Σ [ln P⁺/(P⁺ + m/n + ε) + Σ ln (m/n)/(P⁻ + m/n + ε)] both ways, P = exp(v·w/τ)/Z",
    .paper = "Tian, Krishnan, Isola 2020",
    .needs = RT_LOSS_LAYERS,
    .least_layers = 1,
    .couples_samples = true,
    .knows_classes = true,
    .options = options,
    .options_size = sizeof(crd_options),
    .build = build,
};
