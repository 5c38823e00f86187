#include "base/status.h"

#include <stdio.h>
#include <string.h>

/* The sentence is a fixed buffer: reporting that memory ran out must not need memory. */
static _Thread_local char sentence[16384];

static const char *const names[] = {
#define NAME(id, text) text,
    RT_STATUS_LIST(NAME)
#undef NAME
};

const char *rt_status_name(rt_status status) {
  size_t i = (size_t)status;
  return i < sizeof names / sizeof *names ? names[i] : "unknown status";
}

const char *rt_error(void) { return sentence; }

rt_status rt_vfail(rt_status status, const char *format, va_list arguments) {
  vsnprintf(sentence, sizeof sentence, format, arguments);
  return status;
}

rt_status rt_fail(rt_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  rt_vfail(status, format, arguments);
  va_end(arguments);
  return status;
}

rt_status rt_fail_in(rt_status status, const char *format, ...) {
  char before[sizeof sentence], prefix[256];
  memcpy(before, sentence, sizeof before);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(prefix, sizeof prefix, format, arguments);
  va_end(arguments);
  return rt_fail(status, "%s: %.*s", prefix, (int)(sizeof sentence - sizeof prefix - 3), before);
}
