/* Files of tensors, as a table or as JSON. */
#ifndef CLI_TENSORS_H
#define CLI_TENSORS_H

#include "command.h"

int inspect_file(const char *path, bool as_json);

#endif
