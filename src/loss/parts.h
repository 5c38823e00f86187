/* What the rows are written with. Like all builders these do nothing and return NULL after the graph's first error. */
#ifndef RT_LOSS_PARTS_H
#define RT_LOSS_PARTS_H

#include "loss/loss.h"

/* What every table begins with. */
#define RT_LOSS_OPTION_COMMON \
  {"weight",        RT_OPT_FLOAT, offsetof(rt_loss_options, weight), \
   .fallback = "1", .max = 1e18,  .help = "factor of this term; may be scheduled"}, \
      {"as", RT_OPT_TEXT, offsetof(rt_loss_options, as), .fallback = "", \
       .help = "name of the term; left out: the loss's"}, \
  { \
    "from", RT_OPT_INT, offsetof(rt_loss_options, from), \
        .fallback = "0", .max = 1000, .help = "which of several teachers, from 1; 0: the mean of their logits" \
  }
#define RT_LOSS_OPTION_LAYERS \
  { \
    "layers", RT_OPT_TEXT, offsetof(rt_loss_options, layers), \
        .fallback = "", .help = "STUDENT:TEACHER, pairs joined by +; left out: all layers given, in order" \
  }

/* Options of rows that have nothing but these two. */
extern const rt_option rt_loss_layer_options[];

/* y = op(x), y = op(x, y); `options` may be NULL. */
rt_value *rt_loss_op(const rt_loss_build *b, const char *op, rt_value *x, const char *options);
rt_value *rt_loss_op2(const rt_loss_build *b, const char *op, rt_value *x, rt_value *y, const char *options);
static inline rt_value *rt_loss_add(const rt_loss_build *b, rt_value *x, rt_value *y) {
  return rt_loss_op2(b, "add", x, y, NULL);
}
static inline rt_value *rt_loss_sub(const rt_loss_build *b, rt_value *x, rt_value *y) {
  return rt_loss_op2(b, "sub", x, y, NULL);
}
static inline rt_value *rt_loss_mul(const rt_loss_build *b, rt_value *x, rt_value *y) {
  return rt_loss_op2(b, "mul", x, y, NULL);
}
static inline rt_value *rt_loss_div(const rt_loss_build *b, rt_value *x, rt_value *y) {
  return rt_loss_op2(b, "div", x, y, NULL);
}
/* A constant scalar; a scalar input "term.name" that a schedule may feed. Both in the losses' dtype. */
rt_value *rt_loss_number(const rt_loss_build *b, double value);
rt_value *rt_loss_scheduled(const rt_loss_build *b, const char *name, double fallback);
/* The same for a temperature, which must be above 0. */
rt_value *rt_loss_temperature(const rt_loss_build *b, double fallback);
rt_value *rt_loss_cast(const rt_loss_build *b, rt_value *x);

/* From a number a sample, N: their sum, and N. */
rt_loss_value rt_loss_samples(const rt_loss_build *b, rt_value *each);
/* x + y; a side may be empty. */
rt_loss_value rt_loss_more(const rt_loss_build *b, rt_loss_value x, rt_loss_value y);
/* The mean over all axes but the first: N. */
rt_value *rt_loss_mean_samples(const rt_loss_build *b, rt_value *x);

/* ln softmax(x/T) of N×C. */
rt_value *rt_loss_log_soft(const rt_loss_build *b, rt_value *x, rt_value *temperature);
/* Σ_c p·(ln p − ln q) from logarithms N×C: N. */
rt_value *rt_loss_kl(const rt_loss_build *b, rt_value *log_p, rt_value *log_q);
/* ln(1 + exp(x)), for any x. */
rt_value *rt_loss_softplus(const rt_loss_build *b, rt_value *x);
/* x divided by its Euclidean norm over the axes, given as "2,3"; zeros stay zeros. */
rt_value *rt_loss_unit(const rt_loss_build *b, rt_value *x, const char *axes);
/* a·bᵀ of the last two axes, in the losses' own precision. */
rt_value *rt_loss_product(const rt_loss_build *b, rt_value *a, rt_value *c);
/* N×C×H×W to N×CHW, to N×C×HW. */
rt_value *rt_loss_vectors(const rt_loss_build *b, rt_value *x);
rt_value *rt_loss_maps(const rt_loss_build *b, rt_value *x);

/* The larger of two maps averaged down to the height and width of the other. */
void rt_loss_match_size(const rt_loss_build *b, rt_value **x, rt_value **y);
/* The student's side of a pair with as many channels as the teacher's: a 1×1 convolution and batch norm,
 * "adapter.term.layer.…", where they differ. */
rt_value *rt_loss_adapt(const rt_loss_build *b, const rt_loss_pair *pair, rt_value *x);
/* A trainable variable "adapter.term.what", cast. */
rt_value *rt_loss_parameter(const rt_loss_build *b, const char *what, int rank, const int64_t *dim, rt_init init);
/* A convolution with padding that keeps the size, without bias. */
rt_value *rt_loss_conv(const rt_loss_build *b, const char *what, rt_value *x, int64_t out, int64_t kernel);
/* A number known when the graph is built; an error where it is a symbol. */
int64_t rt_loss_dim(const rt_loss_build *b, const rt_value *x, int axis, const char *what);
/* Text in the graph's arena. */
const char *rt_loss_text(const rt_loss_build *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rt_loss_fail(const rt_loss_build *b, rt_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
