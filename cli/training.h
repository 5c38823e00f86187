/* What `train` and `distill` share: a flag for every setting of a run, the run, its result. */
#ifndef CLI_TRAINING_H
#define CLI_TRAINING_H

#include "settings.h"

enum { MOST_TRAINING_FLAGS = MOST_SETTINGS + 8 };

/* Fill `flags` with them; returns how many, and the next one ends the table. */
int training_flags(flag flags[MOST_TRAINING_FLAGS]);
/* Where the value of a setting goes; for other names of the same flag. */
const char **training_value(const char *setting);
/* True where a setting was given. */
bool training_given(const char *setting);

/* Train as the flags say. `verb` is the command, for the hint how to go on. */
int training_run(const char *verb);
/* Print what the run would do. */
int training_explain(void);

#endif
