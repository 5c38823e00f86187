/* Files of tensors, as a table or as JSON. */
#ifndef CLI_TENSORS_H
#define CLI_TENSORS_H

#include "command.h"

struct cJSON;
struct cJSON *tensors_json(const rt_file *file, const char *path);
void tensors_print(const rt_file *file, const char *path);

#endif
