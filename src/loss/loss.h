/* The table of losses. A row says what it needs and emits nodes; its gradient comes from them. What all rows share
 * (checking and casting inputs, weights, totals) is done once, in loss.c: a row sees values of one dtype, f32 or f64,
 * whatever the networks compute in, and teachers that pass no gradient. */
#ifndef RT_LOSS_LOSS_H
#define RT_LOSS_LOSS_H

#include "op/op.h"

/* What every row's options begin with. */
typedef struct rt_loss_options {
  double weight;
  const char *as;     /* the term's name; "": the loss's */
  int64_t from;       /* the teacher, counted from 1; 0: the mean of them */
  const char *layers; /* of rows that need layers */
} rt_loss_options;

/* One layer of each network: N×C×H×W, vectors as N×C×1×1; the batches agree. */
typedef struct rt_loss_pair {
  const char *name;            /* the student's layer */
  rt_value *student, *teacher; /* teacher: NULL for rows that need the student's own layers alone */
} rt_loss_pair;

typedef struct rt_loss_build {
  rt_graph *graph;
  const char *term; /* "kd", the second one "kd2": what its scalar inputs and variables are called after */
  const char *node; /* "loss.kd": what its nodes are called */
  rt_dtype dtype;
  rt_value *student, *teacher, *labels; /* N×C, N×C, N; what the row needs is there */
  const rt_loss_pair *pair;
  int pairs;
} rt_loss_build;

/* Both scalars; the loss is their quotient, and over parts of a batch the quotient of the sums. */
typedef struct rt_loss_value {
  rt_value *sum, *count;
} rt_loss_value;

typedef struct rt_loss_row {
  const char *name, *formula, *paper;
  unsigned needs;   /* rt_loss_needs */
  int least_layers; /* pairs that it takes at least */
  bool couples_samples;
  bool knows_classes;       /* labels are there for it, too, where they are class numbers; else NULL */
  bool spares_unlabelled;   /* of rows that need labels: −1 may be one, and they may be probabilities */
  const rt_option *options; /* of a struct that begins with rt_loss_options */
  size_t options_size;
  rt_loss_value (*build)(const rt_loss_build *b, const void *options);
} rt_loss_row;

const rt_loss_row *rt_loss_at(int i);              /* NULL past the end */
const rt_loss_row *rt_loss_find(const char *name); /* NULL, with the sentence set, where there is none */

#endif
