/* The table of models: sizes against published ones, options, and that each trains. */
#include "model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

#define OK(call) \
  do { \
    if ((call) != RT_OK) fail_msg("%s: %s", #call, rt_error()); \
  } while (0)

typedef struct fixture {
  rt_store *store;
  rt_graph *graph;
  rt_plan *plan;
} fixture;

static fixture build(const char *model, const char *options, int64_t channels, int64_t size) {
  fixture f = {0};
  OK(rt_store_new(&f.store));
  OK(rt_graph_new(f.store, &f.graph));
  rt_dim dim[] = {rt_symbol(f.graph, "batch"), channels, size, size};
  rt_value *logits = rt_model(f.graph, model, rt_input(f.graph, "x", RT_F32, 4, dim), options);
  rt_mark_output(f.graph, "logits", logits);
  if (rt_graph_status(f.graph) != RT_OK) fail_msg("%s %s: %s", model, options ? options : "", rt_error());
  return f;
}

static void end(fixture *f) {
  rt_plan_free(f->plan);
  rt_graph_free(f->graph);
  rt_store_free(f->store);
}

static int64_t parameters(const fixture *f) {
  int64_t n = 0;
  for (int i = 0; i < f->store->n; i++)
    if (f->store->var[i]->segment == RT_SEGMENT_PARAMETER) n += rt_type_elements(&f->store->var[i]->type);
  return n;
}

/* Multiplications of convolutions and linear layers, for one image. */
static double macs(fixture *f, int64_t channels, int64_t size) {
  double flops = 0;
  rt_plan_options reference = {.kernels = RT_KERNELS_REFERENCE};
  int64_t dim[] = {1, channels, size, size};
  rt_feed x = {"x", 4, dim, NULL};
  OK(rt_pass_eval(&f->graph, NULL));
  OK(rt_plan_new(f->graph, &reference, &f->plan));
  OK(rt_plan_bind(f->plan, &x, 1));
  for (int i = 0; i < rt_plan_steps(f->plan); i++) {
    rt_step_info step;
    OK(rt_plan_step(f->plan, i, &step));
    if (strcmp(step.op, "conv2d") == 0 || strcmp(step.op, "linear") == 0) flops += step.flops;
  }
  return flops / 2;
}

/* Parameters; million multiplications as published, to the digit they are published with, or 0.
 *   imagenet   torchvision's model documentation ("num_params", "GFLOPS"), 1000 classes, 3×224×224
 *   resnetN    akamaster/pytorch_resnet_cifar10, 10 classes; millions of He et al. table 6
 *   x4, wrn    HobbitLong/RepDistiller's networks with 100 classes; wrn_28_10 with 10: 36.5 M in Zagoruyko and Komodakis
 *   whitened   1.97 M as the records' code has it, and its 118 M multiplications where sides are 31, 15, 7, 3: here 32, 16, 8, 4
 *   vgg        torchvision's vggN_bn without its classifier, and 5,130 of a linear layer from 512 to 10 */
static const struct {
  const char *model, *options;
  int64_t size, parameters;
  double gmacs, digit;
} published[] = {
    {"resnet18", "classes=1000 stem=imagenet", 224, 11689512, 1.81, 0.01},
    {"resnet34", "classes=1000 stem=imagenet", 224, 21797672, 3.66, 0.01},
    {"resnet50", "classes=1000 stem=imagenet", 224, 25557032, 4.09, 0.01},
    {"resnet101", "classes=1000 stem=imagenet", 224, 44549160, 7.80, 0.01},
    {"resnet152", "classes=1000 stem=imagenet", 224, 60192808, 11.51, 0.01},
    {"mobilenet_v2", "classes=1000 stem=imagenet", 224, 3504872, 0.30, 0.01},
    {"efficientnet_b0", "classes=1000 stem=imagenet", 224, 5288548, 0.39, 0.01},
    {"resnet20", NULL, 32, 269722, 0.0406, 0.0001},
    {"resnet32", NULL, 32, 464154, 0, 0},
    {"resnet44", NULL, 32, 658586, 0, 0},
    {"resnet56", NULL, 32, 853018, 0.1255, 0.0001},
    {"resnet110", NULL, 32, 1727962, 0.253, 0.001},
    {"resnet8x4", "classes=100", 32, 1233540, 0, 0},
    {"resnet32x4", "classes=100", 32, 7433860, 0, 0},
    {"wrn_16_2", "classes=100", 32, 703284, 0, 0},
    {"wrn_40_1", "classes=100", 32, 569780, 0, 0},
    {"wrn_40_2", "classes=100", 32, 2255156, 0, 0},
    {"wrn_28_10", NULL, 32, 36479194, 5.24, 0.01},
    {"vgg8", "classes=100", 32, 3965028, 0, 0},
    {"vgg11", NULL, 32, 9225984 + 5130, 0, 0},
    {"vgg13", NULL, 32, 9410880 + 5130, 0, 0},
    {"vgg16", NULL, 32, 14723136 + 5130, 0, 0},
    {"whitened_cnn", NULL, 32, 1972792, 0.1466, 0.0001},
};

static void sizes_are_the_published_ones(void **state) {
  for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
    fixture f = build(published[i].model, published[i].options, 3, published[i].size);
    if (parameters(&f) != published[i].parameters)
      fail_msg("%s: %lld parameters, published %lld", published[i].model, (long long)parameters(&f),
               (long long)published[i].parameters);
    double found = macs(&f, 3, published[i].size) / 1e9;
    if (published[i].gmacs > 0 && !(fabs(found - published[i].gmacs) < published[i].digit))
      fail_msg("%s: %.4f Gmac, published %g", published[i].model, found, published[i].gmacs);
    end(&f);
  }
}

static void options_are_taken(void **state) {
  for (int i = 0; i < rt_model_count(); i++) {
    fixture f = build(rt_model_name(i), "classes=7", 1, 28);
    const rt_type *logits = &rt_find(f.graph, "logits")->type;
    assert_int_equal(logits->rank, 2);
    assert_int_equal(logits->dim[1], 7);
    end(&f);
  }
  fixture narrow = build("mobilenet_v2", "width=0.5", 3, 32), full = build("mobilenet_v2", NULL, 3, 32);
  assert_true(parameters(&narrow) < parameters(&full));
  end(&narrow);
  end(&full);
  fixture f = build("resnet20", "width=20", 3, 32);
  assert_int_equal(rt_store_find(f.store, "layer3.2.conv2.weight")->type.dim[0], 80);
  end(&f);
}

static void other_inputs_are_refused(void **state) {
  for (int i = 0; i < rt_model_count(); i++) {
    fixture f = {0};
    if (strcmp(rt_model_name(i), "mlp") == 0) continue;
    OK(rt_store_new(&f.store));
    OK(rt_graph_new(f.store, &f.graph));
    assert_null(rt_model(f.graph, rt_model_name(i), rt_input(f.graph, "x", RT_F32, 2, (rt_dim[]){4, 5}), NULL));
    assert_int_equal(rt_graph_status(f.graph), RT_E_SHAPE);
    assert_non_null(strstr(rt_error(), "N×C×H×W"));
    end(&f);
  }
}

/* Weights start with the deviation that the published code gives them. */
static void weights_start_as_published(void **state) {
  static const struct {
    const char *model, *weight;
    double deviation;
  } known[] = {
      {"resnet18", "layer4.0.conv1.weight", 0.020833333},  /* sqrt(2 / (512 · 9)): fan out */
      {"resnet20", "layer3.0.conv1.weight", 0.083333333},  /* sqrt(2 / (32 · 9)): fan in */
      {"resnet8x4", "layer3.0.conv1.weight", 0.029462783}, /* sqrt(2 / (256 · 9)): fan out */
      {"wrn_16_2", "block3.layer.0.conv1.weight", 0.041666667},
      {"vgg8", "features.12.weight", 0.020833333},
      {"vgg8", "classifier.weight", 0.01},
      {"mobilenet_v2", "features.17.conv.2.weight", 0.079056942},
      {"mobilenet_v2", "features.17.conv.1.0.weight", 0.015214515}, /* fan out doesn't know of groups */
      {"efficientnet_b0", "classifier.1.weight", 0.182574186},      /* uniform in ±1/sqrt(10) */
      {"whitened_cnn", "head.weight", 1},
  };
  static float w[1 << 22];
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    fixture f = build(known[i].model, NULL, 3, 32);
    OK(rt_store_init(f.store, 3));
    const rt_var *v = rt_store_find(f.store, known[i].weight);
    assert_non_null(v);
    int64_t n = rt_type_elements(&v->type);
    assert_true(n <= 1 << 22);
    OK(rt_store_get(f.store, v->name, w, (size_t)n * sizeof *w));
    double sum = 0, square = 0;
    for (int64_t k = 0; k < n; k++) {
      sum += (double)w[k];
      square += (double)w[k] * (double)w[k];
    }
    double mean = sum / (double)n, found = sqrt(square / (double)n - mean * mean), sigma = known[i].deviation;
    if (!(fabs(found / sigma - 1) < 5 / sqrt(2 * (double)n) && fabs(mean) < 5 * sigma / sqrt((double)n)))
      fail_msg("%s %s: deviation %g, expected %g; mean %g", known[i].model, v->name, found, sigma, mean);
    end(&f);
  }
}

/* Filter o hands on channel o; more filters than channels are drawn. Fixed filters: a pixel, and its negative. */
static void filters_hand_on_channels(void **state) {
  static float w[256 * 64 * 9];
  fixture f = build("whitened_cnn", NULL, 3, 32);
  OK(rt_store_init(f.store, 3));
  OK(rt_store_get(f.store, "block2.conv1.weight", w, sizeof w));
  for (int o = 0; o < 64; o++)
    for (int i = 0; i < 64 * 9; i++) assert_true(w[o * 64 * 9 + i] == (float)(i == o * 9 + 4));
  for (int i = 64 * 64 * 9; i < 256 * 64 * 9; i++) assert_true(w[i] != 0 && fabsf(w[i]) <= 1.0f / 24);
  OK(rt_store_get(f.store, "whiten.weight", w, sizeof(float) * 24 * 12));
  for (int o = 0; o < 24; o++)
    for (int i = 0; i < 12; i++) assert_true(w[o * 12 + i] == (i != o % 12 ? 0 : o < 12 ? 1 : -1));
  end(&f);
  OK(rt_store_new(&f.store));
  OK(rt_graph_new(f.store, &f.graph));
  assert_null(rt_parameter(f.graph, "v", 1, (int64_t[]){3}, (rt_init){RT_INIT_DIRAC, 0, 0}));
  assert_non_null(strstr(rt_error(), "its rank is 1"));
  end(&f);
}

/* A narrow one of each family learns four images by heart. */
static void each_family_trains(void **state) {
  static const char *const small[][2] = {
      {"mlp", "hidden=16 classes=3"},          {"resnet18", "width=4 classes=3"},
      {"resnet8", "width=4 classes=3"},        {"resnet8x4", "width=4 classes=3"},
      {"wrn_16_1", "width=4 classes=3"},       {"vgg8", "width=4 classes=3"},
      {"mobilenet_v2", "width=0.1 classes=3"}, {"efficientnet_b0", "width=0.1 classes=3 dropout=0.2"},
      {"whitened_cnn", "width=4 classes=3"}};
  enum { SIZE = 16, N = 4 };
  static float x[N * 3 * SIZE * SIZE];
  int64_t target[N] = {0, 1, 2, 0}, dim[] = {N, 3, SIZE, SIZE}, seed = 1, number = 0;
  float lr = 0.02f;
  for (int i = 0; i < N * 3 * SIZE * SIZE; i++) x[i] = (float)sin(0.37 * i + i / (3 * SIZE * SIZE));
  rt_feed feeds[] = {{"x", 4, dim, x},
                     {"target", 1, dim, target},
                     {"lr", 0, NULL, &lr},
                     {"step", 0, NULL, &number},
                     {"dropout_seed", 0, NULL, &seed}};
  for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
    fixture f = build(small[i][0], small[i][1], 3, SIZE);
    rt_value *labels = rt_input(f.graph, "target", RT_S64, 1, (rt_dim[]){rt_symbol(f.graph, "batch")});
    rt_mark_output(f.graph, "loss", rt_cross_entropy(f.graph, rt_find(f.graph, "logits"), labels, NULL));
    OK(rt_pass_fuse(&f.graph, NULL));
    OK(rt_pass_train(&f.graph, "loss", "momentum=0.9"));
    OK(rt_pass_layout(&f.graph));
    OK(rt_pass_prune(&f.graph));
    OK(rt_plan_new(f.graph, NULL, &f.plan));
    OK(rt_store_init(f.store, 1));
    double first = 0, last = 0;
    bool draws = strstr(small[i][1], "dropout") != NULL;
    for (number = 0; number < 40; number++) {
      rt_result r;
      OK(rt_plan_run(f.plan, feeds, draws ? 5 : 3));
      OK(rt_plan_result(f.plan, "loss", &r));
      last = (double)*(const float *)r.data;
      if (number == 0) first = last;
    }
    print_message("%s: loss %.3f, then %.3f\n", small[i][0], first, last);
    if (!(last < 0.8 * first)) fail_msg("%s: loss %g, then %g", small[i][0], first, last);
    end(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes_are_the_published_ones), cmocka_unit_test(options_are_taken),
      cmocka_unit_test(other_inputs_are_refused),     cmocka_unit_test(weights_start_as_published),
      cmocka_unit_test(filters_hand_on_channels),     cmocka_unit_test(each_family_trains),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
