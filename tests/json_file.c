#include "json_file.h"

#include <stdio.h>
#include <stdlib.h>

cJSON *json_file(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) {
    perror(path);
    return NULL;
  }
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  rewind(f);
  char *text = calloc(1, (size_t)size + 1);
  cJSON *json = NULL;
  if (text && fread(text, 1, (size_t)size, f) == (size_t)size) json = cJSON_Parse(text);
  if (!json) fprintf(stderr, "%s: not JSON\n", path);
  free(text);
  fclose(f);
  return json;
}
