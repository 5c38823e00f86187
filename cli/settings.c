#include "settings.h"

#include <string.h>

static int count(const settings *s) { return s->count() < MOST_SETTINGS ? s->count() : MOST_SETTINGS; }

/* "label_smoothing" is --label-smoothing; a list's flag is called after one of its elements and may come again. */
static flag setting_flag(settings *all, int i) {
  rt_setting s;
  all->at(i, &s);
  snprintf(all->names[i], SETTING_NAME, "%s", s.one ? s.one : s.name);
  for (char *c = all->names[i]; *c; c++)
    if (*c == '_') *c = '-';
  bool off = strcmp(s.fallback, "false") == 0; /* then the flag alone means true */
  bool told = !off && *s.fallback;
  snprintf(all->helps[i], SETTING_HELP, "%s%s%s%s%s", s.help, told ? " (" : "", told ? s.fallback : "", told ? ")" : "",
           s.one ? "; may come again" : "");
  if (off) return (flag){all->names[i], FLAG_BOOL, &all->given[i], NULL, all->helps[i]};
  if (s.one) return (flag){all->names[i], FLAG_TEXTS, &all->lists[i], s.argument, all->helps[i]};
  return (flag){all->names[i], FLAG_TEXT, &all->values[i], s.argument, all->helps[i]};
}

int settings_flags(settings *all, flag *flags, const char *without) {
  rt_setting s;
  int n = 0;
  for (int i = 0; i < count(all); i++) {
    all->at(i, &s);
    if (!without || strcmp(s.name, without) != 0) flags[n++] = setting_flag(all, i);
  }
  return n;
}

static int find(const settings *all, const char *setting) {
  rt_setting s;
  int i = 0;
  while (i < count(all) - 1 && all->at(i, &s) == RT_OK && strcmp(s.name, setting) != 0) i++;
  return i;
}

const char **settings_value(settings *all, const char *setting) { return &all->values[find(all, setting)]; }

bool settings_given(settings *all, const char *setting) {
  int i = find(all, setting);
  return all->given[i] || all->values[i] || all->lists[i].n;
}

int settings_collect(settings *all, rt_pair *pairs, int *n) {
  size_t used = 0;
  *n = 0;
  for (int i = 0; i < count(all); i++) {
    rt_setting s;
    all->at(i, &s);
    if (all->given[i]) pairs[(*n)++] = (rt_pair){s.name, "true"};
    if (all->values[i]) pairs[(*n)++] = (rt_pair){s.name, all->values[i]};
    if (!all->lists[i].n) continue;
    pairs[(*n)++] = (rt_pair){s.name, all->joined + used};
    for (int k = 0; k < all->lists[i].n && used < SETTINGS_JOINED; k++)
      used +=
          (size_t)snprintf(all->joined + used, SETTINGS_JOINED - used, "%s%s", k ? s.join : "", all->lists[i].text[k]);
    if (++used >= SETTINGS_JOINED)
      return complain_usage("--%s: more than %d bytes in all", all->names[i], SETTINGS_JOINED);
  }
  return EXIT_DONE;
}
