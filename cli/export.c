/* A file of tensors in another form. */
#include "command.h"
#include "tensors.h"

#include <stdio.h>

static const char *out_path;
static bool as_json;

static const flag flags[] = {
    {"out", FLAG_TEXT, &out_path, "FILE",
     "what to write (also -o): .pth, .safetensors, .npz or .npy, told by the name"},
    {"json", FLAG_BOOL, &as_json, NULL, "what was written, as one JSON object on standard output"},
    {0},
};

static int print_written(void) {
  rt_file *file;
  rt_status s = rt_file_open(out_path, &file);
  if (s != RT_OK) return complain(s);
  int status = print_json(tensors_json(file, out_path));
  rt_file_free(file);
  return status;
}

static int run(const char *const *arguments, int n) {
  (void)n;
  if (!out_path) return complain_usage("export: -o FILE is missing: where to, and in which form");
  rt_file *file;
  rt_status s = rt_file_open(arguments[0], &file);
  if (s != RT_OK) return complain(s);
  s = rt_file_convert(file, out_path);
  int tensors = rt_file_count(file);
  rt_file_free(file);
  if (s != RT_OK) return complain(s);
  if (as_json) return print_written();
  printf("%s: %d tensors\n", out_path, tensors);
  return EXIT_DONE;
}

const command command_export = {
    .name = "export",
    .arguments = "FILE",
    .summary = "a file's tensors and metadata in another form",
    .example = "retort export resnet20.pth -o resnet20.safetensors",
    .flags = flags,
    .least = 1,
    .most = 1,
    .run = run,
};
