/* Subcommands: one file each, one line in command.def; dispatch, help and flag parsing are read off these rows. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "retort.h"

typedef enum flag_kind { FLAG_BOOL, FLAG_INT, FLAG_FLOAT, FLAG_TEXT } flag_kind;

typedef struct flag {
  const char *name; /* without dashes; NULL ends a table */
  flag_kind kind;
  void *target;         /* bool, int64_t, double or const char * */
  const char *argument; /* "N", "FILE": what follows it, for help */
  const char *help;
} flag;

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, MOST_ARGUMENTS = 16 };

typedef struct command {
  const char *name, *arguments, *summary, *example;
  const flag *flags;
  int least, most; /* positional arguments */
  int (*run)(const char *const *arguments, int n);
} command;

extern const char *const PROGRAM;

/* "retort: sentence" on standard error; returns the status that fits: 2 for wrong input, 1 for a failure. */
int complain(rt_status status);
int complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Print a JSON object on standard output, and free it. */
struct cJSON;
int print_json(struct cJSON *object);

/* "3x32x32" → dimensions; 0 and a complaint when it isn't that. */
int parse_shape(const char *text, int64_t *dim, int most);

#endif
