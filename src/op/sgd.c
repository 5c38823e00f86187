/* sgd: d = scale·g + weight_decay·w,  m ← momentum·m + d,  w ← w − lr·(nesterov ? d + momentum·m : m)
 * PyTorch's, with dampening 0; a first step from m = 0 is PyTorch's first step. Scale 0 leaves all as it was. */
#include "op/optimizer.h"

static const rt_optimizer_form form = {.scalars = 4, .states = 1};

static const rt_option options[] = {
    {"nesterov", RT_OPT_BOOL, offsetof(rt_optimizer_attr, nesterov), "false", .help = "look one step ahead"},
    {0},
};

static int outputs(const void *attr, int n_in) { return rt_optimizer_outputs(form, n_in); }
static int inplace(int n_in, int out) { return rt_optimizer_input(form, out); }
static rt_status infer(rt_infer *c) { return rt_optimizer_infer(c, form); }

static void step(double *v, double g, const double *s, const void *attr) {
  double lr = s[0], momentum = s[1], weight_decay = s[2], scale = s[3];
  if (scale == 0) return;
  double d = scale * g + weight_decay * v[0];
  v[1] = momentum * v[1] + d;
  v[0] -= lr * (((const rt_optimizer_attr *)attr)->nesterov ? d + momentum * v[1] : v[1]);
}

static rt_status reference(const rt_call *c) { return rt_optimizer_reference(c, form, step); }

static const char *const cases[] = {
    "f[]=0.1 f[]=0.9 f[]=0.01 f[]=1 f[5,3] f[5,3] f[5,3]",
    "f[]=0.1 f[]=0 f[]=0 f[]=1 f[1] f[1] f[1]=0",
    "f[]=0.1 f[]=0.9 f[]=0.01 f[]=0 f[33] f[33] f[33]",
    "f[]=0.1 f[]=0.9 f[]=0.01 f[]=0.5 f[17] f[17] f[17] f[2,3,3,1] f[2,3,3,1] f[2,3,3,1] ; nesterov=true",
    NULL,
};

static const char *const errors[] = {
    "f[]=0.1 f[]=0.9 f[]=0 f[]=1 f[5] f[5] ; => each parameter needs 3",
    "f[]=0.1 f[]=0.9 f[]=0 f[]=1 f[5] f[4] f[5] ; => of one shape",
    "f[]=0.1 f[1]=0.9 f[]=0 f[]=1 f[5] f[5] f[5] ; => momentum must be a floating scalar",
    NULL,
};

const rt_op rt_op_row_sgd = {
    .name = "sgd",
    .summary = "new weight and momentum of each parameter, from groups of weight, gradient, momentum",
    .input_names = "lr momentum weight_decay scale parameter*",
    .options = options,
    .attr_size = sizeof(rt_optimizer_attr),
    .n_out = -1,
    .outputs = outputs,
    .infer = infer,
    .reference = reference,
    .inplace = inplace,
    .precision = RT_PRECISION_F32,
    .cases = cases,
    .errors = errors,
};
