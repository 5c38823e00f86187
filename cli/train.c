/* Training a model, with one flag a setting of the library's. */
#include "training.h"

static flag flags[MOST_TRAINING_FLAGS];

static void prepare(void) { training_flags(flags); }

static int run(const char *const *arguments, int n) {
  (void)arguments;
  (void)n;
  return training_run("train");
}

const command command_train = {
    .name = "train",
    .arguments = "",
    .summary = "train a model on a data set",
    .example = "retort train --model resnet20 --data fashion-mnist --out runs/first",
    .flags = flags,
    .prepare = prepare,
    .run = run,
};
