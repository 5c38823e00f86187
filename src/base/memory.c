#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int64_t read_number(const char *path) {
  int64_t n = -1;
  FILE *f = fopen(path, "r");
  if (!f) return -1;
  if (fscanf(f, "%" SCNd64, &n) != 1) n = -1;
  fclose(f);
  return n;
}

static int64_t machine(void) {
  char line[128];
  int64_t kib = -1;
  FILE *f = fopen("/proc/meminfo", "r");
  if (!f) return -1;
  while (kib < 0 && fgets(line, sizeof line, f)) {
    if (strncmp(line, "MemAvailable:", 13) == 0 && sscanf(line + 13, "%" SCNd64, &kib) != 1) kib = -1;
  }
  fclose(f);
  return kib < 0 ? -1 : kib * 1024;
}

int64_t rt_memory_available(void) {
  int64_t available = machine();
  int64_t limit = read_number("/sys/fs/cgroup/memory.max"), used = read_number("/sys/fs/cgroup/memory.current");
  if (limit > 0 && used >= 0 && (available < 0 || limit - used < available))
    available = limit > used ? limit - used : 0;
  return available < 0 ? INT64_MAX : available;
}
