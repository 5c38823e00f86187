#include "format/metadata.h"

rt_status rt_metadata_read(rt_file *file, const cJSON *object) {
  if (!cJSON_IsObject(object)) return rt_file_damaged(file, "its metadata is no JSON object");
  rt_status s = RT_OK;
  for (const cJSON *m = object->child; m && s == RT_OK; m = m->next) {
    if (cJSON_IsString(m)) {
      s = rt_file_add_metadata(file, m->string, m->valuestring);
      continue;
    }
    char *text = cJSON_PrintUnformatted(m);
    s = text ? rt_file_add_metadata(file, m->string, text) : rt_fail(RT_E_MEMORY, "%s: out of memory", file->path);
    cJSON_free(text);
  }
  return s;
}

cJSON *rt_metadata_json(const rt_pair *metadata, int n) {
  cJSON *object = cJSON_CreateObject();
  bool good = object != NULL;
  for (int i = 0; i < n && good; i++) good = cJSON_AddStringToObject(object, metadata[i].key, metadata[i].text) != NULL;
  if (good) return object;
  cJSON_Delete(object);
  rt_fail(RT_E_MEMORY, "out of memory for metadata");
  return NULL;
}
