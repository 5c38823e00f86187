/* Recorded values for tests. */
#ifndef RT_TESTS_JSON_FILE_H
#define RT_TESTS_JSON_FILE_H

#include <cjson/cJSON.h>

/* The whole file, or NULL after saying why on standard error. Tests run in the source tree's root. */
cJSON *json_file(const char *path);

#endif
