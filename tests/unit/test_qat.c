/* The float twin that quantization-aware training runs, and the int8 network that comes of it: the same values on the same grids
 * for every model of the table, and layer by layer the same levels, to one step; and gradients of the size that they have without rounding. */
#include "base/alloc.h"
#include "cases.h"
#include "directory.h"
#include "pass/pass.h"
#include "train/network.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

enum { BATCH = 4 };

static rt_graph *model(rt_store *store, const char *name, const char *options, int64_t side) {
  rt_graph *g;
  OK(rt_graph_new(store, &g));
  rt_dim dim[] = {rt_symbol(g, "batch"), 3, side, side};
  rt_mark_output(g, "logits", rt_model(g, name, rt_input(g, "x", RT_F32, 4, dim), options));
  OK(rt_graph_status(g));
  return g;
}

/* ---- every model: what has a grid in training has one in int8 ---- */

static void every_value_may_have_a_grid(rt_record *r) {
  for (int i = 0; i < r->n; i++) r->node[i].scale = 1.0 / rt_target_activations(r->target).high;
}

/* The row of each grid that the training twin has; others have none. */
static int keep_grids(rt_record *r, rt_store *store) {
  int n = 0;
  for (int i = 0; i < r->n; i++) {
    char name[300];
    snprintf(name, sizeof name, "%s.out.scale", r->node[i].node);
    if (rt_store_find(store, name))
      n++;
    else
      r->node[i].scale = 0;
  }
  return n;
}

static int count_nodes(const rt_graph *g, const rt_op *op) {
  int n = 0;
  for (int i = 0; i < g->n_nodes; i++) n += g->node[i]->op == op;
  return n;
}

static int count_forms(const rt_record *r) {
  int n = 0;
  for (int i = 0; i < r->n; i++) n += r->node[i].form == RT_FORM_INT8;
  return n;
}

static const rt_node *node_called(const rt_graph *g, const char *name, const rt_op *op) {
  for (int i = 0; i < g->n_nodes; i++)
    if (strcmp(g->node[i]->name, name) == 0 && (!op || g->node[i]->op == op)) return g->node[i];
  return NULL;
}

/* What is looked at for the first grids is what will be rounded to them, and nothing of it changes a variable. */
static void looks_at_what_is_rounded(const rt_graph *fake, rt_store *store, const char *name) {
  rt_graph *seen = model(store, name, "classes=10", 32);
  OK(rt_pass_unfolded(&seen));
  OK(rt_pass_fuse(&seen, NULL));
  OK(rt_name_nodes(seen));
  for (int i = 0; i < seen->n_nodes; i++) assert_false(seen->node[i]->op->effect);
  for (int i = 0; i < fake->n_nodes; i++) {
    const rt_node *node = fake->node[i], *x = node->in[0] ? node->in[0]->node : NULL;
    if (node->op != RT_OP(fake_quant) || !x) continue;
    const rt_node *same = node_called(seen, node->name, NULL);
    if (!same || same->op != x->op || !rt_same_shape(&same->out[0]->type, &x->out[0]->type))
      fail_msg("%s: %s is rounded behind %s, and what is looked at is %s's", name, node->name, x->op->name,
               same ? same->op->name : "nobody");
  }
  rt_graph_free(seen);
}

static void trains_what_int8_runs(const char *name, bool frozen, rt_method method) {
  rt_store *store, *folded_store, *int8_store;
  rt_graph *folded, *training, *fake, *int8;
  rt_record record = {.data = ""};
  rt_int8_table table;
  OK(rt_store_new(&store));
  OK(rt_store_new(&int8_store));
  rt_graph *g = model(store, name, "classes=10", 32);
  OK(rt_pass_inference(&g));
  OK(rt_folded_new(g, false, &folded_store, &folded));
  OK(rt_record_decide(&record, folded, &(rt_decisions){.method = method, .keep = "", .schemes = ""}));
  every_value_may_have_a_grid(&record);
  OK(rt_record_settle(&record, folded));
  training = model(store, name, "classes=10", 32);
  if (frozen) OK(rt_pass_freeze_statistics(&training, NULL));
  OK(rt_pass_fuse(&training, NULL));
  OK(rt_name_nodes(training));
  OK(rt_record_table(&record, &table));
  OK(rt_fake_quant(training, &table, RT_GRIDS_OBSERVED, &fake));
  rt_free((void *)table.node);
  int grids = keep_grids(&record, store);
  int before = count_forms(&record);
  OK(rt_record_settle(&record, folded));
  assert_int_equal(count_forms(&record), before);
  OK(rt_record_lower(&record, folded, int8_store, &int8));
  int products = count_nodes(int8, RT_OP(conv2d_int8)) + count_nodes(int8, RT_OP(linear_int8)), said = 0;
  for (int i = 0; i < record.n; i++) said += rt_record_is_product(&record.node[i]);
  if (products != said || count_nodes(fake, RT_OP(fake_quant_weight)) != said)
    fail_msg("%s: %d layers are to be in int8, %d are, and %d train so", name, said, products,
             count_nodes(fake, RT_OP(fake_quant_weight)));
  if (!grids) fail_msg("%s: nothing is on a grid", name);
  if (!frozen) looks_at_what_is_rounded(fake, store, name);
  if (frozen) assert_int_equal(count_nodes(fake, RT_OP(batch_norm_train)), 0);
  rt_record_release(&record);
  rt_graph_free(int8);
  rt_graph_free(fake);
  rt_graph_free(training);
  rt_graph_free(folded);
  rt_graph_free(g);
  rt_store_free(int8_store);
  rt_store_free(folded_store);
  rt_store_free(store);
}

static void every_model_trains_as_it_will_run(void **state) {
  for (int i = 0; i < rt_model_count(); i++)
    for (int frozen = 0; frozen < 2; frozen++) trains_what_int8_runs(rt_model_name(i), frozen, RT_METHOD_QAT);
}

/* ---- layers: from the same inputs, the same levels to one step ---- */

typedef struct subject {
  rt_network of;
  rt_store *store;
  rt_graph *folded;
  rt_record record;
  float *x;
  int64_t side;
} subject;

static void open(subject *s, const char *name, const char *options, int64_t side, rt_target target) {
  char shape[96];
  rt_store *store;
  rt_data *data;
  rt_loader *loader;
  rt_ranges ranges;
  rt_arena arena = {0};
  rt_batch b;
  int64_t seen;
  *s = (subject){.side = side, .record = {.data = ""}};
  OK(rt_store_new(&store));
  rt_graph *g = model(store, name, options, side);
  OK(rt_store_init(store, 3));
  OK(rt_pass_inference(&g));
  OK(rt_folded_new(g, true, &s->store, &s->folded));
  OK(rt_record_decide(&s->record, s->folded,
                      &(rt_decisions){.method = RT_METHOD_QAT, .target = target, .keep = "", .schemes = ""}));
  snprintf(shape, sizeof shape, "shape=3,%d,%d images=64 test_images=0 validation=0", (int)side, (int)side);
  OK(rt_data_open("synthetic", shape, &data));
  OK(rt_loader_new(data, RT_TRAIN, "batch=4", NULL, &loader));
  OK(rt_ranges_new(s->folded, "minmax", "", &arena, &ranges));
  OK(rt_ranges_observe(&ranges, s->folded, loader, 16, &seen));
  OK(rt_record_calibrate(&s->record, &ranges));
  OK(rt_loader_next(loader, &b));
  size_t bytes = (size_t)(BATCH * 3 * side * side) * sizeof *s->x;
  s->x = rt_alloc(bytes);
  memcpy(s->x, b.x, bytes);
  rt_ranges_release(&ranges);
  rt_loader_free(loader);
  rt_data_free(data);
  rt_arena_release(&arena);
  rt_graph_free(g);
  rt_store_free(store);
}

static void finish(subject *s) {
  rt_record_release(&s->record);
  rt_graph_free(s->folded);
  rt_store_free(s->store);
  rt_free(s->x);
}

static double *result(const rt_plan *plan, const char *role, const char *node, rt_result *r) {
  char name[300];
  int64_t count;
  snprintf(name, sizeof name, "%s %s", role, node);
  OK(rt_plan_result(plan, name, r));
  return test_values(r, &count);
}

/* The row of a product's grid: its own, or of the activation behind it. */
static const rt_record_node *own_grid(const subject *s, const rt_node *node) {
  const rt_value *y = node->out[0];
  for (int i = 0; i < s->folded->n_nodes; i++)
    if (s->folded->node[i]->n_in && s->folded->node[i]->in[0] == y && s->folded->node[i]->op == RT_OP(relu6))
      return rt_record_find(&s->record, s->folded->node[i]->name);
  return rt_record_find(&s->record, node->name);
}

/* The grid that a u8 value of the int8 graph is on. Moved elements stay on theirs. */
static const rt_record_node *grid_of(const subject *s, const rt_value *v) {
  while (v->node && v->node->op->moves == v->node->op) v = v->node->in[0];
  if (v->node && v->node->op == RT_OP(conv2d_int8)) return own_grid(s, node_called(s->folded, v->node->name, NULL));
  return rt_record_find(&s->record, v->node ? v->node->name : v->name);
}

static float *real(const double *q, const rt_record_node *grid, const rt_result *r) {
  int64_t n = 1;
  for (int d = 0; d < r->rank; d++) n *= r->dim[d];
  float *x = rt_alloc_array((size_t)n, sizeof *x);
  for (int64_t i = 0; i < n; i++) x[i] = (float)(grid->scale * (q[i] - grid->zero_point));
  return x;
}

typedef struct layer {
  const rt_node *node;             /* of the folded graph */
  const rt_record_node *x, *r, *y; /* grids */
  double *qx, *qr, *qy;
  rt_result rx, rr, ry;
} layer;

/* The layer in float, from the levels that int8 had: how many steps is the worst of its results away? */
static double steps_apart(const layer *l, double high) {
  rt_store *store;
  rt_graph *g;
  rt_plan *plan;
  rt_result out;
  int64_t count;
  OK(rt_store_new(&store));
  OK(rt_graph_new(store, &g));
  const rt_type *w = &l->node->in[1]->type;
  rt_value *in[5] = {rt_input(g, "x", RT_F32, l->rx.rank, l->rx.dim),
                     rt_constant(g, RT_F32, w->rank, w->dim, l->node->in[1]->var->data)};
  rt_fake_quant_weight_attr plain = {0};
  in[1] = rt_emit(g, RT_OP(fake_quant_weight), "w", &plain, 1, in[1]);
  if (l->node->n_in > 2 && l->node->in[2])
    in[2] = rt_constant(g, RT_F32, 1, l->node->in[2]->type.dim, l->node->in[2]->var->data);
  if (l->qr) in[3] = rt_input(g, "r", RT_F32, l->rr.rank, l->rr.dim);
  rt_value *y = rt_graph_add(g, l->node->op, "y", in, l->node->n_in, l->node->attr);
  rt_fake_quant_attr fake = {.high = (int64_t)high};
  y = rt_emit(g, RT_OP(fake_quant), "y", &fake, 3, y, rt_scalar(g, l->y->scale), rt_scalar(g, l->y->zero_point));
  rt_mark_output(g, "y", y);
  OK(rt_graph_status(g));
  float *x = real(l->qx, l->x, &l->rx), *r = l->qr ? real(l->qr, l->r, &l->rr) : NULL;
  rt_feed feed[] = {{"x", l->rx.rank, l->rx.dim, x}, {"r", l->rr.rank, l->rr.dim, r}};
  OK(rt_plan_new(g, NULL, &plan));
  OK(rt_plan_run(plan, feed, r ? 2 : 1));
  OK(rt_plan_result(plan, "y", &out));
  double *found = test_values(&out, &count), worst = 0;
  for (int64_t i = 0; i < count; i++) worst = fmax(worst, fabs(found[i] / l->y->scale + l->y->zero_point - l->qy[i]));
  rt_free(found);
  rt_free(x);
  rt_free(r);
  rt_plan_free(plan);
  rt_graph_free(g);
  rt_store_free(store);
  return worst;
}

static void check_layers(subject *s, int least) {
  rt_store *store;
  rt_graph *int8;
  rt_plan *plan;
  const int64_t dim[] = {BATCH, 3, s->side, s->side};
  rt_feed feed = {"x", 4, dim, s->x};
  const rt_op *conv = RT_OP(conv2d_int8);
  double high = rt_target_activations(s->record.target).high;
  int checked = 0;
  OK(rt_record_build(&s->record, s->folded, &store, &int8));
  for (int i = 0, n = int8->n_nodes; i < n; i++) {
    const rt_node *node = int8->node[i];
    char name[300];
    if (node->op != conv || node->out[0]->type.dtype != RT_U8) continue;
    const rt_value *value[] = {node->in[0], node->out[0], node->n_in > 4 ? node->in[4] : NULL};
    /* an image that was framed with its zero point is looked at before */
    if (value[0]->node && value[0]->node->op->moves && strcmp(value[0]->node->name, node->name) == 0)
      value[0] = value[0]->node->in[0];
    static const char *const role[] = {"x", "y", "r"};
    for (int k = 0; k < 3; k++) {
      snprintf(name, sizeof name, "%s %s", role[k], node->name);
      if (value[k]) rt_mark_output(int8, name, (rt_value *)value[k]);
    }
  }
  OK(rt_plan_new(int8, NULL, &plan));
  OK(rt_plan_run(plan, &feed, 1));
  for (int i = 0; i < s->folded->n_nodes; i++) {
    layer l = {.node = s->folded->node[i]};
    const rt_node *node = node_called(int8, l.node->name, conv);
    if (!node || node->out[0]->type.dtype != RT_U8) continue;
    const rt_value *x = node->in[0];
    if (x->node && x->node->op->moves && strcmp(x->node->name, node->name) == 0) x = x->node->in[0];
    bool residual = node->n_in > 4 && node->in[4];
    l.x = grid_of(s, x);
    l.y = own_grid(s, l.node);
    if (residual) l.r = grid_of(s, node->in[4]);
    if (!l.x || !l.y || (residual && !l.r)) continue;
    l.qx = result(plan, "x", l.node->name, &l.rx);
    l.qy = result(plan, "y", l.node->name, &l.ry);
    if (residual) l.qr = result(plan, "r", l.node->name, &l.rr);
    double apart = steps_apart(&l, high);
    if (!(apart < 1.01)) fail_msg("%s is %.3g steps off its twin", l.node->name, apart);
    rt_free(l.qx);
    rt_free(l.qy);
    rt_free(l.qr);
    checked++;
  }
  if (checked < least) fail_msg("%d layers were compared, at least %d are there", checked, least);
  rt_plan_free(plan);
  rt_graph_free(int8);
  rt_store_free(store);
}

static void layers_agree_to_one_step(void **state) {
  static const struct {
    const char *model, *options;
    int64_t side;
    int layers;
  } each[] = {{"resnet20", "classes=10", 16, 15}, {"mobilenet_v2", "classes=10 stem=cifar width=0.25", 16, 30}};
  for (size_t i = 0; i < sizeof each / sizeof *each; i++)
    for (int target = RT_TARGET_VNNI; target <= RT_TARGET_FBGEMM; target++) {
      subject s;
      open(&s, each[i].model, each[i].options, each[i].side, (rt_target)target);
      check_layers(&s, each[i].layers);
      finish(&s);
    }
}

/* ---- gradients: rounding leaves them their size ---- */

static char first[] = "/tmp/retort-first-XXXXXX", second[] = "/tmp/retort-second-XXXXXX";

static void train(const char *model, const char *init, const char *quantize, const char *data, const char *out) {
  rt_train_report report;
  const rt_pair settings[] = {{"model", model},      {"init", init},      {"quantize", quantize}, {"out", out},
                              {"data", "synthetic"}, {"validation", "0"}, {"data_options", data}, {"augment", "none"},
                              {"precision", "fp32"}, {"epochs", "1"},     {"lr", "1e-3"},         {"batch", "4"},
                              {"log_steps", "1"},    {"threads", "1"}};
  assert_int_equal(directory_remove(out), 0);
  OK(rt_train(settings, sizeof settings / sizeof *settings, NULL, NULL, &report));
}

/* Norm of all gradients of the first of three steps on from there. */
static double first_gradient(const char *model, const char *quantize) {
  static const char key[] = "\"grad_norm\":";
  char start[80], path[80], line[4096];
  double found = NAN;
  snprintf(start, sizeof start, "%s/model.last.pth", first);
  snprintf(path, sizeof path, "%s/metrics.jsonl", second);
  train(model, start, quantize, "shape=3,16,16 images=16 test_images=0", second);
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  while (isnan(found) && fgets(line, sizeof line, file)) {
    const char *number = strstr(line, key);
    if (number) found = strtod(number + strlen(key), NULL);
  }
  fclose(file);
  return found;
}

/* Running statistics after 20 steps are far from a batch's. Grids that were chosen by them would cut off most of what the step sees,
 * and each batch norm would make up for it with a gain: an EfficientNet's gradients were of 10⁸. */
static void gradients_keep_their_size(void **state) {
  static const char *const each[] = {"resnet20:width=8", "mobilenet_v2:width=0.2", "efficientnet_b0:width=0.2"};
  for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
    train(each[i], "", "none", "shape=3,16,16 images=80 test_images=0", first);
    double plain = first_gradient(each[i], "none"), rounded = first_gradient(each[i], "qat");
    print_message("%s: gradients of %.4g, rounded of %.4g\n", each[i], plain, rounded);
    if (!(rounded < 2 * plain && plain < 2 * rounded))
      fail_msg("%s: gradients of %.4g are %.4g in training for int8", each[i], plain, rounded);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_model_trains_as_it_will_run),
                                     cmocka_unit_test(layers_agree_to_one_step),
                                     cmocka_unit_test(gradients_keep_their_size)};
  assert_non_null(mkdtemp(first));
  assert_non_null(mkdtemp(second));
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  assert_int_equal(directory_remove(first), 0);
  assert_int_equal(directory_remove(second), 0);
  return failed;
}
