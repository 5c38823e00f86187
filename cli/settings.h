/* Flags of commands that are read off a table of settings of the library's. */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "command.h"

enum { MOST_SETTINGS = 96, SETTING_NAME = 40, SETTING_HELP = 320, SETTINGS_JOINED = 1 << 14 };

typedef struct settings {
  int (*count)(void);
  rt_status (*at)(int i, rt_setting *out);
  char names[MOST_SETTINGS][SETTING_NAME], helps[MOST_SETTINGS][SETTING_HELP];
  const char *values[MOST_SETTINGS]; /* what was given */
  bool given[MOST_SETTINGS];         /* the same, of those that are false unless given */
  texts lists[MOST_SETTINGS];        /* the same, of lists that are given one by one */
  char joined[SETTINGS_JOINED];
} settings;

/* Fill `flags` with a flag for every setting but `without` (NULL: for all); returns how many. */
int settings_flags(settings *s, flag *flags, const char *without);
/* Where the value of a setting goes, and whether it was given. */
const char **settings_value(settings *s, const char *setting);
bool settings_given(settings *s, const char *setting);
/* What was given, as settings: *n of them, MOST_SETTINGS at most. */
int settings_collect(settings *s, rt_pair *pairs, int *n);

#endif
