/* Names in other people's files. The pairs are keys of timm's mobilenetv2_100, of chenyaofo's and kuangliu's ResNets, beside the keys
 * that torchvision and we have for the same tensors. */
#include "checkpoint/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs the four above before it */
#include <stdio.h>
#include <string.h>

static const char *rules_of(const char *dialect) {
  for (int i = 0; rt_dialect_at(i); i++)
    if (strcmp(rt_dialect_at(i)->name, dialect) == 0) return rt_dialect_at(i)->rules;
  fail_msg("no dialect %s", dialect);
  return NULL;
}

static void dialects(void **state) {
  static const struct {
    const char *dialect, *theirs, *ours;
  } pairs[] = {
      {"timm", "conv_stem.weight", "features.0.0.weight"},
      {"timm", "bn1.running_mean", "features.0.1.running_mean"},
      {"timm", "blocks.0.0.conv_dw.weight", "features.1.conv.0.0.weight"},
      {"timm", "blocks.0.0.bn1.bias", "features.1.conv.0.1.bias"},
      {"timm", "blocks.0.0.conv_pw.weight", "features.1.conv.1.weight"},
      {"timm", "blocks.0.0.bn2.weight", "features.1.conv.2.weight"},
      {"timm", "blocks.1.0.conv_pw.weight", "features.2.conv.0.0.weight"},
      {"timm", "blocks.1.0.bn1.weight", "features.2.conv.0.1.weight"},
      {"timm", "blocks.2.2.conv_dw.weight", "features.6.conv.1.0.weight"},
      {"timm", "blocks.3.3.bn2.bias", "features.10.conv.1.1.bias"},
      {"timm", "blocks.4.2.conv_pwl.weight", "features.13.conv.2.weight"},
      {"timm", "blocks.6.0.bn3.running_var", "features.17.conv.3.running_var"},
      {"timm", "conv_head.weight", "features.18.0.weight"},
      {"timm", "bn2.weight", "features.18.1.weight"},
      {"timm", "classifier.bias", "classifier.1.bias"},
      {"kuangliu", "layer2.0.shortcut.1.weight", "layer2.0.downsample.1.weight"},
      {"kuangliu", "linear.weight", "fc.weight"},
      {"chenyaofo", "fc.bias", "linear.bias"},
      {"native", "layer1.0.conv1.weight", "layer1.0.conv1.weight"},
  };
  char name[RT_NAME];
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    snprintf(name, sizeof name, "%s", pairs[i].theirs);
    assert_int_equal(rt_name_translate(name, rules_of(pairs[i].dialect)), RT_OK);
    assert_string_equal(name, pairs[i].ours);
  }
}

static void rules(void **state) {
  static const struct {
    const char *name, *rule, *now;
  } cases[] = {
      {"a.b.c", "b=x", "a.x.c"},  {"a.b.c", "a.b=x", "x.c"},  {"a.b.c", "c=x.y", "a.b.x.y"},
      {"a.b.c", "^b=x", "a.b.c"}, {"a.b.c", "^a=x", "x.b.c"}, {"ab.b", "b=x", "ab.x"},
      {"a.bc", "b=x", "a.bc"},    {"b.b", "b=x", "x.b"},      {"a.b.c", "a=", "b.c"},
      {"a.b.c", "b=", "a.c"},     {"a", "a=b=c", "b=c"},      {"a.b.a.c", "a.c=x", "a.b.x"},
  };
  char name[RT_NAME];
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(name, sizeof name, "%s", cases[i].name);
    assert_int_equal(rt_name_replace(name, cases[i].rule, strlen(cases[i].rule)), RT_OK);
    assert_string_equal(name, cases[i].now);
  }
  static const char *const nonsense[] = {"", "a", "=b", "^=b"};
  for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
    assert_int_equal(rt_name_replace(name, nonsense[i], strlen(nonsense[i])), RT_E_ARGUMENT);
  char longer[RT_NAME] = "a=";
  memset(longer + 2, 'x', sizeof longer - 3);
  snprintf(name, sizeof name, "a.long");
  assert_int_equal(rt_name_replace(name, longer, strlen(longer)), RT_E_ARGUMENT);
}

static void wrappers(void **state) {
  assert_string_equal(rt_name_bare("module.conv1.weight"), "conv1.weight");
  assert_string_equal(rt_name_bare("module._orig_mod.module.fc.bias"), "fc.bias");
  assert_string_equal(rt_name_bare("modules.fc.bias"), "modules.fc.bias");
  assert_string_equal(rt_name_bare("module."), "module.");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(dialects), cmocka_unit_test(rules), cmocka_unit_test(wrappers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
