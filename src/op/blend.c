/* blend: a ← p·a + q·b for each pair; what has the factor 0 is left out, whatever it holds. With it gradients are added up,
 * averages move, and values that aren't finite are kept out of the store. */
#include "op/optimizer.h"

static const rt_optimizer_form form = {.scalars = 2, .states = 0};

static int outputs(const void *attr, int n_in) { return rt_optimizer_outputs(form, n_in); }
static int inplace(int n_in, int out) { return rt_optimizer_input(form, out); }
static rt_status infer(rt_infer *c) { return rt_optimizer_infer(c, form); }

static void step(double *v, double b, const double *s, const void *attr) {
  v[0] = (s[0] == 0 ? 0 : s[0] * v[0]) + (s[1] == 0 ? 0 : s[1] * b);
}

static rt_status reference(const rt_call *c) { return rt_optimizer_reference(c, form, step); }

static const char *const cases[] = {
    "f[]=0.9 f[]=0.1 f[5,3] f[5,3]", "f[]=0 f[]=1 f[17] f[17] f[2,3,3,1] f[2,3,3,1]",
    "f[]=0 f[]=2 f[17]=inf f[17]",   "f[]=1 f[]=0 f[17] f[17]=nan",
    "f[]=0.5 f[]=0 f[17] f[17]=nan", "f[]=0 f[]=0 f[3]=nan f[3]=inf",
    "f[]=1 f[]=-0.5 f[] f[]",        NULL,
};

static const char *const errors[] = {
    "f[]=1 f[]=1 f[5] f[4] ; => of one shape",
    "f[]=1 f[]=1 f[5] f[5] f[5] ; => each parameter needs 2",
    "f[]=1 f[2]=1 f[5] f[5] ; => q must be a floating scalar",
    NULL,
};

const rt_op rt_op_row_blend = {
    .name = "blend",
    .summary = "p a + q b of each pair a, b; what has the factor 0 is left out",
    .input_names = "p q pair*",
    .n_out = -1,
    .outputs = outputs,
    .infer = infer,
    .reference = reference,
    .inplace = inplace,
    .precision = RT_PRECISION_F32,
    .cases = cases,
    .errors = errors,
};
