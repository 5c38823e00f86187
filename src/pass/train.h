/* What rt_pass_train shares among its files: train.c says what is trained and guards it, update.c and muon.c emit how a
 * step is made of the gradients. */
#ifndef RT_PASS_TRAIN_H
#define RT_PASS_TRAIN_H

#include "pass/pass.h"

typedef struct rt_train_options {
  int optimizer, rest, decay;
  double momentum, weight_decay, beta1, beta2, eps, muon_momentum, rest_lr, bias_lr, clip, ema;
  int64_t muon_steps;
  bool nesterov, muon_first, normalize, check, accumulate, recompute;
} rt_train_options;

typedef struct rt_trained {
  rt_value *parameter, *gradient;
  rt_value *now;  /* after the step */
  bool is_bias;   /* or of a norm: of rank 0 or 1 */
  bool by_matrix; /* Muon's, not the rest's */
} rt_trained;

/* A variable and what the step leaves in it. */
typedef struct rt_assigned {
  rt_value *variable, *value;
} rt_assigned;

typedef struct rt_training {
  rt_graph *graph;
  const rt_train_options *options;
  rt_trained *parameter;
  int n;
  rt_assigned *statistic; /* of the forward pass, those in f32 first */
  int n_statistics, n_floats;
  bool low;          /* the network computes in bf16 */
  rt_value *scale;   /* of the gradients; 0: this step changes no parameter */
  rt_value *applied; /* 1, or 0 for such a step */
  rt_value *finite;  /* the same for what isn't finite only; NULL: not looked at */
} rt_training;

/* Emit the new values of every parameter. */
void rt_update_parameters(rt_training *t);
/* Of those by_matrix. */
void rt_update_muon(rt_training *t, rt_value *lr);

/* The variable "<parameter>.<what>" of its type, zero at first. */
rt_value *rt_train_state(rt_graph *g, const rt_value *parameter, const char *what);
/* The scalar variable of this name, zero at first: a step's bookkeeping, so that a checkpoint carries it. */
rt_value *rt_train_count(rt_graph *g, const char *name);
void rt_train_assign(rt_graph *g, rt_value *variable, rt_value *value);
/* p a + q b */
rt_value *rt_train_blend(rt_graph *g, const char *name, rt_value *p, rt_value *a, rt_value *q, rt_value *b);

#endif
