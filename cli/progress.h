/* What a run tells people: a bar on a terminal, lines in a pipe, JSON lines where asked for. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "command.h"

typedef struct progress {
  bool quiet, json;
  double drawn; /* when the bar was drawn last; 0: it isn't there */
} progress;

void progress_tell(progress *p, const rt_news *news);
/* Take the bar away, so that something else can be printed. */
void progress_clear(progress *p);

#endif
