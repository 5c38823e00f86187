#include "command.h"

#include <errno.h>
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

const command *command_at(int i) {
  if (i < 0 || i >= N_COMMANDS) return NULL;
  if (commands[i]->prepare) commands[i]->prepare();
  return commands[i];
}

const command *command_find(const char *name) {
  for (int i = 0; i < N_COMMANDS; i++)
    if (strcmp(name, commands[i]->name) == 0) return command_at(i);
  return NULL;
}

/* ---- flags ---- */

static int add_text(const flag *f, const char *value) {
  texts *t = f->target;
  if (t->n == MOST_TEXTS) return complain_usage("--%s: at most %d of them", f->name, MOST_TEXTS);
  t->text[t->n++] = value;
  return EXIT_DONE;
}

static int set_flag(const flag *f, const char *value) {
  char *end = NULL;
  errno = 0;
  switch (f->kind) {
  case FLAG_BOOL: *(bool *)f->target = true; return EXIT_DONE;
  case FLAG_TEXT: *(const char **)f->target = value; return EXIT_DONE;
  case FLAG_TEXTS: return add_text(f, value);
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

static int unknown_flag(const command *c, const char *word) {
  enum { MOST = 128 };
  const char *names[MOST];
  char bare[64];
  int n = 0;
  for (const flag *f = c->flags; f->name && n < MOST; f++) names[n++] = f->name;
  snprintf(bare, sizeof bare, "%.*s", (int)strcspn(word + 2, "="), word + 2);
  const char *near = rt_nearest_name(bare, names, n);
  return complain_usage("%s: unknown option %s (%s%s%s%s %s --help)", c->name, word, near ? "did you mean --" : "",
                        near ? near : "", near ? "? see " : "see ", PROGRAM, c->name);
}

/* Options that only the command's own tables know: "--temperature 4". */
static int offer(const command *c, const char *name, const char *value) {
  char text[64];
  snprintf(text, sizeof text, "%.*s", (int)strcspn(name, "="), name);
  if (!value) return complain_usage("%s: --%s needs a value after it", c->name, text);
  return c->other(text, value);
}

static int run_command(const command *c, int argc, char **argv) {
  const char *positional[MOST_ARGUMENTS];
  int n = 0;
  for (int i = 0; i < argc; i++) {
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
      help_command(c);
      return EXIT_DONE;
    }
    const char *word = strcmp(argv[i], "-o") == 0 ? "--out" : argv[i];
    if (strncmp(word, "--", 2) != 0) {
      if (n == c->most)
        return complain_usage("%s: one argument too many: %s (see %s %s --help)", c->name, argv[i], PROGRAM, c->name);
      positional[n++] = argv[i];
      continue;
    }
    const char *name = word + 2, *equals = strchr(name, '=');
    const flag *f = find_flag(c, name, equals ? (size_t)(equals - name) : strlen(name));
    const char *value = equals ? equals + 1 : NULL;
    if (!f && c->other) {
      if (!value && ++i < argc) value = argv[i];
      if (offer(c, name, value) != EXIT_DONE) return EXIT_USAGE;
      continue;
    }
    if (!f) return unknown_flag(c, argv[i]);
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
  if (argc < 2) {
    help_all(stderr);
    return EXIT_USAGE;
  }
  if (strcmp(argv[1], "--version") == 0) {
    printf("%s %s\n", PROGRAM, rt_version());
    return EXIT_DONE;
  }
  bool asks = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
  const command *c = command_find(asks ? "help" : argv[1]);
  if (!c) return complain_usage("there is no command %s (see %s --help)", argv[1], PROGRAM);
  int status = run_command(c, argc - 2, argv + 2);
  if (fflush(stdout) == 0) return status;
  perror(PROGRAM);
  return EXIT_FAILED;
}
