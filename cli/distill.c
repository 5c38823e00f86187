/* Training a student that learns from teachers: a training run, whose settings name them. */
#include "training.h"

static bool explain;
static flag flags[MOST_TRAINING_FLAGS];

static void prepare(void) {
  int n = training_flags(flags);
  flags[n++] = (flag){"student", FLAG_TEXT, training_value("model"), "NAME[:OPTIONS]", "the same as --model"};
  flags[n++] = (flag){"explain", FLAG_BOOL, &explain, NULL, "only print what the run would do"};
  flags[n] = (flag){0};
}

static int run(const char *const *arguments, int n) {
  (void)arguments;
  (void)n;
  if (!training_given("teacher") && !training_given("teacher_outputs") && !training_given("through") &&
      !training_given("generations") && !training_given("peers") && !training_given("resume"))
    return complain_usage("distill: --teacher is missing: whom does the student learn from? A file, as in --teacher "
                          "resnet56.pth");
  return explain ? training_explain() : training_run("distill");
}

const command command_distill = {
    .name = "distill",
    .arguments = "",
    .summary = "train a student that learns from a teacher",
    .example = "retort distill --teacher resnet56.pth --student resnet20 --data fashion-mnist",
    .flags = flags,
    .prepare = prepare,
    .run = run,
};
