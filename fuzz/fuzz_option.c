/* Options as text, of every type: what is printed parses to the same again. */
#include "base/option.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct sample {
  int64_t count, pair[2];
  rt_ints list;
  double rate;
  bool on;
  int kind;
  const char *text;
} sample;

static const rt_option table[] = {
    {"count", RT_OPT_INT, offsetof(sample, count), "3", 1, 10, NULL, ""},
    {"pair", RT_OPT_PAIR, offsetof(sample, pair), "1", 0, 0, NULL, ""},
    {"list", RT_OPT_INTS, offsetof(sample, list), "", 0, 0, NULL, ""},
    {"rate", RT_OPT_FLOAT, offsetof(sample, rate), "0.5", 0, 1, NULL, ""},
    {"on", RT_OPT_BOOL, offsetof(sample, on), "false", 0, 0, NULL, ""},
    {"kind", RT_OPT_CHOICE, offsetof(sample, kind), "none", 0, 0, "none|tanh|", ""},
    {"text", RT_OPT_TEXT, offsetof(sample, text), "", 0, 0, NULL, ""},
    {0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rt_arena arena = {0};
  sample s = {0}, again = {0};
  rt_strbuf first = {0}, second = {0};
  char *text = rt_arena_alloc(&arena, size + 1);
  if (text && size) memcpy(text, data, size);
  if (text && rt_options_parse(table, &s, text, &arena, "input") == RT_OK) {
    rt_options_print(table, &s, &first);
    if (rt_options_parse(table, &again, first.text, &arena, "printed") == RT_OK)
      rt_options_print(table, &again, &second);
    bool same = first.length == second.length && (!first.length || memcmp(first.text, second.text, first.length) == 0);
    if (!same) __builtin_trap();
  }
  rt_strbuf_release(&first);
  rt_strbuf_release(&second);
  rt_arena_release(&arena);
  return 0;
}
