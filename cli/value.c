/* What commands say and read alike: complaints, JSON, values of flags. */
#include "command.h"

#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int complain(rt_status status) {
  fprintf(stderr, "%s: %s\n", PROGRAM, rt_error());
  switch (status) {
  case RT_E_ARGUMENT:
  case RT_E_SHAPE:
  case RT_E_UNKNOWN:
  case RT_E_UNSUPPORTED:
  case RT_E_RANGE:
  case RT_E_FORMAT:
  case RT_E_MEMORY: return EXIT_USAGE;
  default: return EXIT_FAILED;
  }
}

int complain_usage(const char *format, ...) {
  va_list list;
  fprintf(stderr, "%s: ", PROGRAM);
  va_start(list, format);
  vfprintf(stderr, format, list);
  va_end(list);
  fprintf(stderr, "\n");
  return EXIT_USAGE;
}

int parse_shape(const char *text, int64_t *dim, int most) {
  int n = 0;
  for (const char *p = text; n < most;) {
    char *end;
    long long v = strtoll(p, &end, 10);
    if (end == p || v <= 0 || v > INT32_MAX || (*end && *end != 'x')) break;
    dim[n++] = v;
    if (!*end) return n;
    p = end + 1;
  }
  complain_usage("%s is not a shape: expected numbers above 0 with x between them, as in 3x32x32", text);
  return 0;
}

int print_json(cJSON *object) {
  char *text = cJSON_Print(object);
  if (text) puts(text);
  cJSON_free(text);
  cJSON_Delete(object);
  return text ? EXIT_DONE : EXIT_FAILED;
}

int parse_choice(const char *name, const char *text, const char *const *choices, int *out) {
  char list[128];
  size_t n = 0;
  for (*out = 0; choices[*out]; ++*out) {
    if (strcmp(text, choices[*out]) == 0) return EXIT_DONE;
    n += (size_t)snprintf(list + n, sizeof list - n, "%s%s",
                          !*out               ? ""
                          : choices[*out + 1] ? ", "
                                              : " or ",
                          choices[*out]);
  }
  return complain_usage("--%s %s: expected %s", name, text, list);
}

const char *const KERNELS[] = {"auto", "direct", "reference", NULL};

int parse_precision(const char *text, bool *bf16) {
  static const char *const precisions[] = {"auto", "fp32", "bf16", NULL};
  rt_machine m;
  int i;
  if (parse_choice("precision", text, precisions, &i) != EXIT_DONE) return EXIT_USAGE;
  rt_machine_info(&m);
  *bf16 = i == 2 || (i == 0 && m.bf16);
  return EXIT_DONE;
}

int set_threads(int64_t n) {
  if (!n) return EXIT_DONE;
  rt_status s = rt_set_threads(n > INT32_MAX || n < 0 ? -1 : (int)n);
  return s == RT_OK ? EXIT_DONE : complain(s);
}
