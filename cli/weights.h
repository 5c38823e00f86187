/* The flags of commands that run a network with the weights of a file. */
#ifndef CLI_WEIGHTS_H
#define CLI_WEIGHTS_H

#include "command.h"

typedef struct weights_options {
  const char *model, *mean, *std, *precision, *kernels, *tta;
  texts rename;
  bool allow_partial;
  int64_t batch, threads;
} weights_options;
extern weights_options weights;

#define WEIGHTS_FLAGS \
  {"model", FLAG_TEXT, &weights.model, "NAME[:OPTIONS]", "which model, where the file doesn't say it"}, \
      {"mean", FLAG_TEXT, &weights.mean, "A,B,C", \
       "of pixels in 0 to 1, a number a channel; the file's if it says it"}, \
      {"std", FLAG_TEXT, &weights.std, "A,B,C", "the same for the deviation"}, \
      {"rename", FLAG_TEXTS, &weights.rename, "OLD=NEW", \
       "another name for a part of the file's names; may come again"}, \
      {"allow-partial", FLAG_BOOL, &weights.allow_partial, NULL, "load the tensors that fit, and say which don't"}, \
      {"precision", FLAG_TEXT, &weights.precision, "auto|fp32|bf16", "auto: bf16 where the CPU has it (fp32)"}, \
      {"kernels", FLAG_TEXT, &weights.kernels, "auto|direct|reference", "direct: convolutions without Winograd"}, \
      {"tta", FLAG_TEXT, &weights.tta, "none|flip|flip+translate", \
       "views of an image whose logits are averaged (none)"}, \
      {"batch", FLAG_INT, &weights.batch, "N", "images at a time (128)"}, { \
    "threads", FLAG_INT, &weights.threads, "N", "as many as processors unless given" \
  }

/* Set the threads and open `path` as the flags say; `o` has what else is known. DONE, or a complaint was made. */
int weights_open(const char *path, rt_network_options o, rt_network **out);
/* The data set `name` with `options`, as rt_data_open takes them. The images of a folder have no size of their own: they
 * are scaled and cut as the file `path` says, unless the options say otherwise. */
int weights_open_data(const char *path, const char *name, const char *options, rt_data **out);
/* {"file", "model", "precision"}, to which a command adds; NULL where there is no memory. */
struct cJSON *weights_json(const char *path, const rt_network *network);

#endif
