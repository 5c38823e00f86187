#include "command.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND(name) extern const command command_##name;
#include "command.def"
#undef COMMAND

static const command *const commands[] = {
#define COMMAND(name) &command_##name,
#include "command.def"
#undef COMMAND
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

const char *const PROGRAM = "retort";

int complain(rt_status status) {
  fprintf(stderr, "%s: %s\n", PROGRAM, rt_error());
  switch (status) {
  case RT_E_ARGUMENT:
  case RT_E_SHAPE:
  case RT_E_UNKNOWN:
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

/* ---- help ---- */

static void print_flag(const flag *f) {
  char left[64];
  snprintf(left, sizeof left, "--%s%s%s", f->name, f->argument ? " " : "", f->argument ? f->argument : "");
  printf("  %-24s %s\n", left, f->help);
}

static int help_command(const command *c) {
  printf("usage: %s %s %s%s[options]\n\n%s\n\noptions:\n", PROGRAM, c->name, c->arguments, *c->arguments ? " " : "",
         c->summary);
  for (const flag *f = c->flags; f->name; f++) print_flag(f);
  printf("  %-24s %s\n\nexample:\n  %s\n", "--help", "this text", c->example);
  return EXIT_DONE;
}

static int help(FILE *out, int status) {
  fprintf(out, "retort %s: makes neural networks small and fast on CPUs\n\nusage: %s COMMAND [arguments] [options]\n\n",
          rt_version(), PROGRAM);
  for (int i = 0; i < N_COMMANDS; i++) fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
  fprintf(out, "\n%s COMMAND --help tells more. Exit status: 0 done, 1 failed, 2 wrong usage or input.\n", PROGRAM);
  return status;
}

/* ---- flags ---- */

static int set_flag(const flag *f, const char *value) {
  char *end = NULL;
  errno = 0;
  switch (f->kind) {
  case FLAG_BOOL: *(bool *)f->target = true; return EXIT_DONE;
  case FLAG_TEXT: *(const char **)f->target = value; return EXIT_DONE;
  case FLAG_INT: *(int64_t *)f->target = strtoll(value, &end, 10); break;
  case FLAG_FLOAT: *(double *)f->target = strtod(value, &end); break;
  }
  if (end == value || *end || errno)
    return complain_usage("--%s %s: expected a %snumber", f->name, value, f->kind == FLAG_INT ? "whole " : "");
  return EXIT_DONE;
}

static const flag *find_flag(const command *c, const char *name, size_t length) {
  for (const flag *f = c->flags; f->name; f++)
    if (strlen(f->name) == length && strncmp(f->name, name, length) == 0) return f;
  return NULL;
}

static int run_command(const command *c, int argc, char **argv) {
  const char *positional[MOST_ARGUMENTS];
  int n = 0;
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return help_command(c);
    const char *word = strcmp(argv[i], "-o") == 0 ? "--out" : argv[i];
    if (strncmp(word, "--", 2) != 0) {
      if (n == c->most)
        return complain_usage("%s: one argument too many: %s (see %s %s --help)", c->name, argv[i], PROGRAM, c->name);
      positional[n++] = argv[i];
      continue;
    }
    const char *name = word + 2, *equals = strchr(name, '=');
    const flag *f = find_flag(c, name, equals ? (size_t)(equals - name) : strlen(name));
    if (!f) return complain_usage("%s: unknown option %s (see %s %s --help)", c->name, argv[i], PROGRAM, c->name);
    const char *value = equals ? equals + 1 : NULL;
    if (f->kind == FLAG_BOOL && value) return complain_usage("%s: --%s takes no value", c->name, f->name);
    if (f->kind != FLAG_BOOL && !value && ++i < argc) value = argv[i];
    if (f->kind != FLAG_BOOL && !value)
      return complain_usage("%s: --%s needs %s after it", c->name, f->name, f->argument);
    if (set_flag(f, value) != EXIT_DONE) return EXIT_USAGE;
  }
  if (n < c->least)
    return complain_usage("%s: %s is missing (see %s %s --help)", c->name, c->arguments, PROGRAM, c->name);
  return c->run(positional, n);
}

int main(int argc, char **argv) {
  if (argc < 2) return help(stderr, EXIT_USAGE);
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
    return help(stdout, EXIT_DONE);
  if (strcmp(argv[1], "--version") == 0) {
    printf("retort %s\n", rt_version());
    return EXIT_DONE;
  }
  for (int i = 0; i < N_COMMANDS; i++) {
    if (strcmp(argv[1], commands[i]->name) != 0) continue;
    int status = run_command(commands[i], argc - 2, argv + 2);
    if (fflush(stdout) == 0) return status;
    perror(PROGRAM);
    return EXIT_FAILED;
  }
  return complain_usage("there is no command %s (see %s --help)", argv[1], PROGRAM);
}
