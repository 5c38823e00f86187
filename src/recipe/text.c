/* A value of the tree as the text of a setting, in the form that the command line takes:
 *
 *   epochs: 4                                   4
 *   augment: [{crop: 2}, flip]                  crop=2 flip
 *   model: {mlp: {hidden: [64, 64]}}            mlp:hidden=64,64
 *   losses: [{kd: {weight: 1, temperature: 4}}] kd:weight=1,temperature=4 */
#include "recipe/recipe.h"

#include <string.h>

typedef struct writer {
  const rt_recipe *recipe;
  rt_strbuf *out;
  const char *join;      /* between the elements of the setting */
  const char *separator; /* between the options of an element */
} writer;

static rt_status fail(const writer *w, const rt_yaml *y, const char *expected) {
  return rt_recipe_fail(w->recipe, y->place, RT_E_FORMAT, "%s%sexpected %s", y->key ? y->key : "", y->key ? ": " : "",
                        expected);
}

/* 4; [64, 64] as 64,64 */
static rt_status write_plain(const writer *w, const rt_yaml *y) {
  if (y->kind == RT_YAML_TEXT) {
    rt_strbuf_add(w->out, "%s", y->text);
    return RT_OK;
  }
  if (y->kind != RT_YAML_LIST) return fail(w, y, "a value or a list of values");
  for (const rt_yaml *v = y->child; v; v = v->next) {
    if (v->kind != RT_YAML_TEXT) return fail(w, v, "a value");
    rt_strbuf_add(w->out, "%s%s", v == y->child ? "" : ",", v->text);
  }
  return RT_OK;
}

static rt_status write_options(const writer *w, const rt_yaml *map) {
  rt_status s = RT_OK;
  for (const rt_yaml *v = map->child; v && s == RT_OK; v = v->next) {
    rt_strbuf_add(w->out, "%s%s=", v == map->child ? "" : w->separator, v->key);
    s = write_plain(w, v);
  }
  return s;
}

/* "flip"; {crop: 2} as crop=2; {kd: {weight: 1}} as kd:weight=1 */
static rt_status write_item(const writer *w, const rt_yaml *y) {
  if (y->kind == RT_YAML_TEXT) return write_plain(w, y);
  if (y->kind != RT_YAML_MAP) return fail(w, y, "a value or name: value");
  rt_status s = RT_OK;
  for (const rt_yaml *v = y->child; v && s == RT_OK; v = v->next) {
    bool options = v->kind == RT_YAML_MAP;
    rt_strbuf_add(w->out, "%s%s%s", v == y->child ? "" : w->join, v->key, options ? (v->child ? ":" : "") : "=");
    s = options ? write_options(w, v) : write_plain(w, v);
  }
  return s;
}

rt_status rt_recipe_value(const rt_recipe *recipe, const rt_yaml *value, const rt_setting *setting, rt_strbuf *out) {
  const char *join = setting->join ? setting->join : " ";
  writer w = {recipe, out, join, setting->join && *setting->join == ' ' ? "," : " "};
  rt_status s = RT_OK;
  if (value->kind != RT_YAML_LIST)
    s = write_item(&w, value);
  else
    for (const rt_yaml *v = value->child; v && s == RT_OK; v = v->next) {
      rt_strbuf_add(out, "%s", v == value->child ? "" : join);
      s = write_item(&w, v);
    }
  return s == RT_OK && out->failed ? RT_E_MEMORY : s;
}
