/* A contact sheet: images in rows and columns, each with its class below it. */
#ifndef CLI_SHEET_H
#define CLI_SHEET_H

#include "command.h"

typedef struct sheet_options {
  const char *data, *options, *augment; /* texts as rt_data_open and rt_loader_new take them */
  rt_split split;
  int64_t rows, columns;
} sheet_options;

/* Without augmentation every cell is another image; with it every row is one image in several variants. */
rt_status sheet_make(const sheet_options *o, rt_image *out);

#endif
