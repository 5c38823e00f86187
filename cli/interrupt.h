/* The first signal asks a run for a checkpoint, the second one ends the program. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

enum { EXIT_INTERRUPTED = 130 };

void catch_signals(void); /* SIGINT and SIGTERM */
bool interrupted(void);

#endif
