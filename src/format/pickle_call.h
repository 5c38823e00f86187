/* What a pickle may import and call, for the stack machine in pickle.c. */
#ifndef RT_FORMAT_PICKLE_CALL_H
#define RT_FORMAT_PICKLE_CALL_H

#include "format/pickle.h"

typedef struct rt_pickle_reader {
  rt_arena *arena;
  const char *what; /* begins error sentences */
  size_t *budget;   /* of what calls may copy: each byte of the input once, however often the memo recalls it */
  rt_pickle_storage **storages; /* head of the list to add to */
} rt_pickle_reader;

/* RT_E_FORMAT with "what: sentence". */
rt_status rt_pickle_fail(const rt_pickle_reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NULL, with the sentence set, when there is no memory. */
rt_pickle *rt_pickle_new(const rt_pickle_reader *r, rt_pickle_kind kind);

/* The name of a module and of something in it, if we know it: else refused. */
rt_status rt_pickle_import(const rt_pickle_reader *r, const char *module, size_t module_length, const char *name,
                           size_t name_length, rt_pickle **out);
/* function(*arguments). */
rt_status rt_pickle_call(const rt_pickle_reader *r, const rt_pickle *function, const rt_pickle *arguments,
                         rt_pickle **out);
/* object.__setstate__(state). */
rt_status rt_pickle_build(const rt_pickle_reader *r, rt_pickle *object, const rt_pickle *state);
/* What a persistent id stands for: ("storage", torch.FloatStorage, key, device, count). */
rt_status rt_pickle_storage_of(const rt_pickle_reader *r, const rt_pickle *id, rt_pickle **out);

#endif
