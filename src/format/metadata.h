/* Metadata as JSON: an object of texts. */
#ifndef RT_FORMAT_METADATA_H
#define RT_FORMAT_METADATA_H

#include "format/format.h"

#include <cjson/cJSON.h>

/* Add every member; what isn't text goes in as JSON. */
rt_status rt_metadata_read(rt_file *file, const cJSON *object);
/* NULL, with the sentence set, when there is no memory. For cJSON_Delete. */
cJSON *rt_metadata_json(const rt_pair *metadata, int n);

#endif
