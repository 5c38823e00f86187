/* Hard labels: L = −1/N · Σ ln p_s[y], p = softmax(z), with label smoothing (Szegedy et al. 2016). A sample whose label is −1
 * has none: it adds nothing, and counts among the N, so that the loss stays a sum over samples. */
#include "loss/parts.h"

typedef struct cross_entropy_options {
  rt_loss_options common;
  double label_smoothing;
} cross_entropy_options;

static const rt_option options[] = {
    RT_LOSS_OPTION_COMMON,
    {"label_smoothing", RT_OPT_FLOAT, offsetof(cross_entropy_options, label_smoothing), "0", 0, 1,
     .help = "share of the target spread over all classes"},
    {0},
};

static rt_loss_value build(const rt_loss_build *b, const void *given) {
  const cross_entropy_options *o = given;
  rt_value *sum = rt_loss_op2(b, "cross_entropy", b->student, b->labels,
                              rt_loss_text(b, "label_smoothing=%.17g ignore_index=-1", o->label_smoothing));
  if (b->labels && rt_dtype_is_float(b->labels->type.dtype)) return (rt_loss_value){sum, rt_output(sum, 1)};
  rt_value *ones = rt_loss_op2(b, "expand_to", rt_loss_number(b, 1), b->labels, NULL);
  return (rt_loss_value){sum, rt_loss_op(b, "sum", ones, NULL)};
}

const rt_loss_row rt_loss_row_cross_entropy = {
    .name = "cross_entropy",
    .formula = "−1/N · Σ ln pₛ[y]",
    .paper = "the hard loss; label smoothing: Szegedy et al. 2016",
    .needs = RT_LOSS_STUDENT | RT_LOSS_LABELS,
    .spares_unlabelled = true,
    .options = options,
    .options_size = sizeof(cross_entropy_options),
    .build = build,
};
