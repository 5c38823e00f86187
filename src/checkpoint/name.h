/* Names of tensors in other people's files. */
#ifndef RT_CHECKPOINT_NAME_H
#define RT_CHECKPOINT_NAME_H

#include "base/status.h"

enum { RT_NAME = 1152 };

/* What tells a tensor of the state segment from a parameter. */
#define RT_STATE_PREFIX "state/"

typedef struct rt_dialect {
  const char *name, *rules;
} rt_dialect;

const rt_dialect *rt_dialect_at(int i); /* NULL past the end */

/* Take off what wrappers put in front: "module.", "_orig_mod.". */
const char *rt_name_bare(const char *name);
/* One rule, "OLD=NEW", of which `length` bytes are meant; a name that doesn't have OLD stays as it is. */
rt_status rt_name_replace(char name[RT_NAME], const char *rule, size_t length);
/* Rules with spaces between them. */
rt_status rt_name_translate(char name[RT_NAME], const char *rules);

#endif
