#include "command.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

static bool as_json;

static const flag flags[] = {
    {"json", FLAG_BOOL, &as_json, NULL, "one JSON object on standard output"},
    {0},
};

static int print_machine(const rt_machine *m) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "version", rt_version());
  cJSON_AddStringToObject(o, "cpu", m->cpu);
  cJSON_AddStringToObject(o, "isa", m->isa);
  cJSON_AddBoolToObject(o, "bf16", m->bf16);
  cJSON_AddBoolToObject(o, "vnni", m->vnni);
  cJSON_AddBoolToObject(o, "amx", m->amx);
  cJSON_AddStringToObject(o, "backend", m->backend);
  cJSON_AddStringToObject(o, "winograd", m->winograd);
  cJSON_AddStringToObject(o, "simd", m->simd);
  cJSON_AddNumberToObject(o, "threads", rt_threads());
  cJSON_AddNumberToObject(o, "l1_bytes", (double)m->l1);
  cJSON_AddNumberToObject(o, "l2_bytes", (double)m->l2);
  cJSON_AddNumberToObject(o, "l3_bytes", (double)m->l3);
  cJSON_AddNumberToObject(o, "memory_available_bytes", (double)m->memory);
  return print_json(o);
}

static int run(const char *const *arguments, int n) {
  (void)arguments;
  (void)n;
  rt_machine m;
  rt_machine_info(&m);
  if (as_json) return print_machine(&m);
  printf("retort     %s\n", rt_version());
  printf("cpu        %s, %d threads used\n", m.cpu, rt_threads());
  printf("isa        %s (bf16 %s, vnni %s, amx %s)\n", m.isa, m.bf16 ? "yes" : "no", m.vnni ? "yes" : "no",
         m.amx ? "yes" : "no");
  printf("kernels    %s for convolutions and matrix products, own loops for %s\n", m.backend, m.simd);
  printf("winograd   %s\n", m.winograd);
  printf("precision  auto means %s\n", m.bf16 ? "bf16" : "fp32");
  printf("caches     L1 %lld KiB, L2 %lld KiB, L3 %lld KiB\n", (long long)m.l1 >> 10, (long long)m.l2 >> 10,
         (long long)m.l3 >> 10);
  printf("memory     %.1f GiB available\n", (double)m.memory / (1 << 30));
  return EXIT_DONE;
}

const command command_doctor = {
    .name = "doctor",
    .arguments = "",
    .summary = "what this CPU has, and which kernels will run on it",
    .example = "retort doctor --json",
    .flags = flags,
    .run = run,
};
