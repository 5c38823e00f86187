/* A multilayer perceptron: linear and relu, layers named "0", "2", "4" … as in PyTorch's nn.Sequential. */
#include "model/model.h"

#include <stdio.h>

typedef struct mlp_options {
  int64_t classes;
  rt_ints hidden;
} mlp_options;

static const rt_option options[] = {
    {"classes", RT_OPT_INT, offsetof(mlp_options, classes), "10", 1, 1e9, NULL, "width of the logits"},
    {"hidden", RT_OPT_INTS, offsetof(mlp_options, hidden), "128", 1, 1e9, NULL, "widths of the hidden layers"},
    {0},
};

static rt_value *build(rt_graph *g, rt_value *x, const void *variant, const void *opts) {
  (void)variant;
  const mlp_options *o = opts;
  char name[16];
  if (x->type.rank > 2) x = rt_apply(g, "flatten", NULL, &x, 1, NULL);
  for (int i = 0; i < o->hidden.n; i++) {
    snprintf(name, sizeof name, "%d", 2 * i);
    x = rt_relu(g, rt_linear(g, name, x, o->hidden.v[i], true));
  }
  snprintf(name, sizeof name, "%d", 2 * o->hidden.n);
  return rt_linear(g, name, x, o->classes, true);
}

const rt_model_row rt_model_row_mlp = {
    .name = "mlp",
    .summary = "linear layers with relu between them",
    .options = options,
    .options_size = sizeof(mlp_options),
    .build = build,
};
