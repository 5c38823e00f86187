#include "command.h"

static const char *out = "report.html", *baseline;

static const flag flags[] = {
    {"out", FLAG_TEXT, &out, "FILE",
     "the page (report.html; also -o FILE); a table of the summary goes beside it, as .csv"},
    {"baseline", FLAG_TEXT, &baseline, "NAME", "the model that others are compared with (the first)"},
    {0},
};

static int run(const char *const *arguments, int n) {
  rt_status s = rt_report(arguments, n, baseline, out);
  if (s != RT_OK) return complain(s);
  printf("%s\n", out);
  return EXIT_DONE;
}

const command command_report = {
    .name = "report",
    .arguments = "RUN...",
    .summary = "make one HTML page of the results in directories of run, train and distill",
    .example = "retort report runs/smoke -o smoke.html",
    .flags = flags,
    .least = 1,
    .most = 64,
    .run = run,
};
