/* Subcommands: one file each, one line in command.def; dispatch, help and flag parsing are read off these rows. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "retort.h"

#include <stdio.h>

typedef enum flag_kind { FLAG_BOOL, FLAG_INT, FLAG_FLOAT, FLAG_TEXT, FLAG_TEXTS } flag_kind;

/* Of a flag that may be given several times. */
enum { MOST_TEXTS = 64 };
typedef struct texts {
  const char *text[MOST_TEXTS];
  int n;
} texts;

typedef struct flag {
  const char *name; /* without dashes; NULL ends a table */
  flag_kind kind;
  void *target;         /* bool, int64_t, double, const char * or texts */
  const char *argument; /* what follows it, for help and completion: "FILE", "DIR", "auto|fp32|bf16" … */
  const char *help;
} flag;

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, MOST_ARGUMENTS = 1024 };

typedef struct command {
  const char *name, *arguments, *summary, *example;
  const flag *flags;
  void (*prepare)(
      void); /* fills flags that are read off a table of the library's, before they are looked at; or NULL */
  int (*other)(const char *name, const char *value); /* takes "--name value" that isn't in flags; NULL: refused */
  int least, most;                                   /* positional arguments */
  int (*run)(const char *const *arguments, int n);
} command;

extern const char *const PROGRAM;
const command *command_at(int i);              /* ready to be looked at; NULL past the end */
const command *command_find(const char *name); /* NULL: there is none */

/* Everything that help, the man page and completion say is read off the commands' tables. */
void help_all(FILE *out);
void help_command(const command *c);
void help_man(void);

/* "retort: sentence" on standard error; returns the status that fits: 2 for wrong input, 1 for a failure. */
int complain(rt_status status);
int complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Print a JSON object on standard output, and free it. */
struct cJSON;
int print_json(struct cJSON *object);

/* "3x32x32" → dimensions; 0 and a complaint when it isn't that. */
int parse_shape(const char *text, int64_t *dim, int most);

/* Of values that several commands take: DONE, or USAGE after a complaint. `choices` ends with NULL. */
extern const char *const KERNELS[]; /* in the order of rt_kernels */
int parse_choice(const char *name, const char *text, const char *const *choices, int *out);
int parse_precision(const char *text, bool *bf16);
int set_threads(int64_t n); /* 0 leaves them as they are */

#endif
