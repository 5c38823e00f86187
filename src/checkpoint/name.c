#include "checkpoint/name.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const rt_dialect dialects[] = {
#define DIALECT(name, rules) {#name, rules},
#include "checkpoint/dialect.def"
#undef DIALECT
};

const rt_dialect *rt_dialect_at(int i) {
  return i >= 0 && i < (int)(sizeof dialects / sizeof *dialects) ? &dialects[i] : NULL;
}

const char *rt_name_bare(const char *name) {
  static const char *const wrappers[] = {"module.", "_orig_mod."};
  for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers;) {
    size_t n = strlen(wrappers[i]);
    bool there = strncmp(name, wrappers[i], n) == 0 && name[n];
    name += there ? n : 0;
    i = there ? 0 : i + 1; /* wrappers are wrapped */
  }
  return name;
}

/* Where the dotted parts `old` stand in the name, or NULL. */
static char *find_parts(char *name, const char *old, size_t n, bool anchored) {
  for (char *p = name; p; p = strchr(p, '.') ? strchr(p, '.') + 1 : NULL) {
    if (strncmp(p, old, n) == 0 && (p[n] == '.' || !p[n])) return p;
    if (anchored) return NULL;
  }
  return NULL;
}

rt_status rt_name_replace(char name[RT_NAME], const char *rule, size_t length) {
  const char *equals = memchr(rule, '=', length);
  bool anchored = length && rule[0] == '^';
  const char *old = rule + anchored;
  if (!equals || equals == old)
    return rt_fail(RT_E_ARGUMENT, "rename %.*s: expected OLD=NEW", length > 200 ? 200 : (int)length, rule);
  char *p = find_parts(name, old, (size_t)(equals - old), anchored);
  if (!p) return RT_OK;
  char rest[RT_NAME];
  const char *after = p + (equals - old), *now = equals + 1;
  size_t n = length - (size_t)(now - rule);
  if (!n && *after == '.') after++; /* nothing in its place: the dot goes too */
  snprintf(rest, sizeof rest, "%s", after);
  size_t room = RT_NAME - (size_t)(p - name);
  if ((size_t)snprintf(p, room, "%.*s%s", (int)n, now, rest) >= room)
    return rt_fail(RT_E_ARGUMENT, "rename %.*s makes a name that is too long", (int)length, rule);
  return RT_OK;
}

rt_status rt_name_translate(char name[RT_NAME], const char *rules) {
  rt_status s = RT_OK;
  for (const char *p = rules; *p && s == RT_OK; p += strspn(p, " ")) {
    size_t n = strcspn(p, " ");
    s = rt_name_replace(name, p, n);
    p += n;
  }
  return s;
}
