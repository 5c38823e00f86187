#include "base/file.h"
#include "bench/bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Packages of Linux's powercap: /sys/class/powercap/intel-rapl:N/energy_uj, in millionths of a joule. They wrap at
 * max_energy_range_uj; what was seen last tells when. Readable by root alone on most systems. */
enum { PACKAGES = 8 };

static bool read_number(const char *name, int package, double *out) {
  char path[96];
  snprintf(path, sizeof path, "/sys/class/powercap/intel-rapl:%d/%s", package, name);
  FILE *f = fopen(path, "r");
  if (!f) return false;
  bool good = fscanf(f, "%lf", out) == 1;
  fclose(f);
  return good;
}

double rt_energy(void) {
  static _Thread_local double last[PACKAGES], wrapped[PACKAGES];
  double sum = 0;
  for (int i = 0; i < PACKAGES; i++) {
    double now, range;
    if (!read_number("energy_uj", i, &now)) return i ? sum * 1e-6 : NAN;
    if (now < last[i] && read_number("max_energy_range_uj", i, &range)) wrapped[i] += range;
    last[i] = now;
    sum += now + wrapped[i];
  }
  return sum * 1e-6;
}

int64_t rt_peak_memory(bool forget) {
  char line[128];
  int64_t kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, "VmHWM:", 6) == 0 && sscanf(line + 6, "%" SCNd64, &kib) != 1) kib = 0;
  if (f) fclose(f);
  if (forget && (f = fopen("/proc/self/clear_refs", "w"))) { /* 5: the peak becomes what is resident now */
    fputs("5", f);
    fclose(f);
  }
  return kib * 1024;
}
