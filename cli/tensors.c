#include "tensors.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

static int64_t elements(const rt_file_info *t) {
  int64_t n = 1;
  for (int d = 0; d < t->rank; d++) n *= t->dim[d];
  return n;
}

cJSON *tensors_json(const rt_file *file, const char *path) {
  cJSON *o = cJSON_CreateObject();
  double bytes = 0, count = 0;
  cJSON_AddStringToObject(o, "file", path);
  cJSON_AddStringToObject(o, "form", rt_file_form(file));
  cJSON *metadata = cJSON_AddObjectToObject(o, "metadata"), *tensors = cJSON_AddArrayToObject(o, "tensors");
  for (int i = 0; i < rt_file_metadata_count(file); i++) {
    rt_pair p;
    if (rt_file_metadata_at(file, i, &p) == RT_OK) cJSON_AddStringToObject(metadata, p.key, p.text);
  }
  for (int i = 0; i < rt_file_count(file); i++) {
    rt_file_info t;
    if (rt_file_entry(file, i, &t) != RT_OK) continue;
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "name", t.name);
    cJSON_AddStringToObject(item, "dtype", rt_dtype_name(t.dtype));
    cJSON *shape = cJSON_AddArrayToObject(item, "shape");
    for (int d = 0; d < t.rank; d++) cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)t.dim[d]));
    cJSON_AddNumberToObject(item, "bytes", (double)t.bytes);
    cJSON_AddItemToArray(tensors, item);
    bytes += (double)t.bytes;
    count += (double)elements(&t);
  }
  cJSON_AddNumberToObject(o, "elements", count);
  cJSON_AddNumberToObject(o, "bytes", bytes);
  return o;
}

static void print_shape(const rt_file_info *t) {
  char text[128] = "scalar";
  size_t n = 0;
  for (int d = 0; d < t->rank && n < sizeof text; d++)
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld", d ? "x" : "", (long long)t->dim[d]);
  printf("%-18s", text);
}

/* Numbers as text may be long. */
static void print_metadata(const rt_pair *p) {
  enum { SHOWN = 60, LONG = 2000 };
  size_t n = strlen(p->text);
  if (n > LONG && !strpbrk(p->text, "\n{["))
    printf("%s: %.*s… (%zu characters)\n", p->key, SHOWN, p->text, n);
  else
    printf("%s: %s\n", p->key, p->text);
}

void tensors_print(const rt_file *file, const char *path) {
  int64_t bytes = 0, count = 0;
  int n = rt_file_count(file);
  printf("%-44s %-5s %-18s %12s\n", "tensor", "dtype", "shape", "bytes");
  for (int i = 0; i < n; i++) {
    rt_file_info t;
    if (rt_file_entry(file, i, &t) != RT_OK) continue;
    printf("%-44s %-5s ", t.name, rt_dtype_name(t.dtype));
    print_shape(&t);
    printf(" %12lld\n", (long long)t.bytes);
    bytes += t.bytes;
    count += elements(&t);
  }
  for (int i = 0; i < rt_file_metadata_count(file); i++) {
    rt_pair p;
    if (rt_file_metadata_at(file, i, &p) == RT_OK) print_metadata(&p);
  }
  printf("%s: %s, %d tensors, %lld numbers, %.1f MB\n", path, rt_file_form(file), n, (long long)count,
         (double)bytes / 1e6);
}
