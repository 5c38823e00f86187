/* A YAML file as a tree that remembers where things stand. libfyaml reads it. */
#ifndef RT_RECIPE_YAML_H
#define RT_RECIPE_YAML_H

#include "base/arena.h"
#include "base/status.h"

typedef struct rt_yaml_place {
  int line, column; /* from 1; 0: nowhere in the file */
} rt_yaml_place;

typedef enum rt_yaml_kind { RT_YAML_TEXT, RT_YAML_LIST, RT_YAML_MAP } rt_yaml_kind;

typedef struct rt_yaml {
  rt_yaml_kind kind;
  rt_yaml_place place;
  const char *key;         /* in a map */
  rt_yaml_place key_place; /* of it */
  const char *text;        /* of a scalar */
  struct rt_yaml *child;   /* first of a list or map */
  struct rt_yaml *next;
} rt_yaml;

/* Read a file; `set` are "path=value" as in "stages.0.epochs=2": parts are keys, numbers in lists, names of stages (as: NAME).
 * *text is the document after that, freed with rt_free. */
rt_status rt_yaml_read(const char *path, const char *const *set, int n, rt_arena *arena, rt_yaml **out, char **text);
const rt_yaml *rt_yaml_find(const rt_yaml *map, const char *key); /* NULL: it isn't there */

#endif
