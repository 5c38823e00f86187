#include "fetch.h"
#include "sheet.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *options_text, *augment, *out_path, *base, *directory, *split_name = "train";
static int64_t rows = 8, columns = 8, stall = 30;
static bool as_json;

static const flag flags[] = {
    {"options", FLAG_TEXT, &options_text, "TEXT", "check, preview: the data set's options, as in \"subset=500\""},
    {"out", FLAG_TEXT, &out_path, "FILE", "preview: where to (also -o FILE)"},
    {"split", FLAG_TEXT, &split_name, "NAME", "preview: train, validation or test (train)"},
    {"rows", FLAG_INT, &rows, "N", "preview: rows (8)"},
    {"columns", FLAG_INT, &columns, "N", "preview: columns (8)"},
    {"augment", FLAG_TEXT, &augment, "TEXT", "preview: a row per image, changed as in \"crop=4 flip\""},
    {"to", FLAG_TEXT, &directory, "DIR", "get: where to; else where list looks first"},
    {"base", FLAG_TEXT, &base, "URL", "get: a mirror; files are URL/NAME (also $RETORT_MIRROR)"},
    {"stall", FLAG_INT, &stall, "SECONDS", "get: how long nothing may come (30)"},
    {"json", FLAG_BOOL, &as_json, NULL, "list: one JSON object on standard output"},
    {0},
};

/* ---- list ---- */

static int list_json(void) {
  cJSON *o = cJSON_CreateObject(), *sets = cJSON_AddArrayToObject(o, "data");
  for (int i = 0; i < rt_data_kind_count(); i++) {
    rt_data_kind k;
    char *found = NULL;
    if (rt_data_kind_at(i, &k) != RT_OK || rt_data_find(k.name, &found) != RT_OK) continue;
    cJSON *set = cJSON_CreateObject();
    cJSON_AddStringToObject(set, "name", k.name);
    cJSON_AddStringToObject(set, "summary", k.summary);
    cJSON_AddBoolToObject(set, "needs_path", k.needs_path);
    cJSON_AddItemToObject(set, "directory", found ? cJSON_CreateString(found) : cJSON_CreateNull());
    cJSON_AddItemToArray(sets, set);
    rt_text_free(found);
  }
  return print_json(o);
}

static int list(const char *name) {
  (void)name;
  if (as_json) return list_json();
  for (int i = 0; i < rt_data_kind_count(); i++) {
    rt_data_kind k;
    char *found = NULL;
    rt_status s = rt_data_kind_at(i, &k);
    if (s == RT_OK) s = rt_data_find(k.name, &found);
    if (s != RT_OK) return complain(s);
    char note[128];
    snprintf(note, sizeof note, "not here: %s data get %s, or --data %s:DIR", PROGRAM, k.name, k.name);
    if (k.needs_path) snprintf(note, sizeof note, "--data %s:PATH", k.name);
    printf("%-14s %s\n%-14s %s\n", k.name, k.summary, "",
           found                     ? found
           : k.files || k.needs_path ? note
                                     : "always here");
    rt_text_free(found);
  }
  return EXIT_DONE;
}

/* ---- check ---- */

static int find_kind(const char *text, rt_data_kind *out) {
  size_t n = strcspn(text, ":");
  for (int i = 0; i < rt_data_kind_count(); i++)
    if (rt_data_kind_at(i, out) == RT_OK && strlen(out->name) == n && strncmp(out->name, text, n) == 0)
      return EXIT_DONE;
  return complain_usage("there is no data set %.*s (see %s data list)", (int)n, text, PROGRAM);
}

/* The file, or the file.gz, or none. */
static bool find_file(const char *dir, const char *name, char *path, size_t size) {
  snprintf(path, size, "%s/%s", dir, name);
  if (access(path, R_OK) == 0) return true;
  snprintf(path, size, "%s/%s.gz", dir, name);
  return access(path, R_OK) == 0;
}

static int check_files(const rt_data_kind *k, const char *dir) {
  char path[4096], why[256];
  for (int i = 0; i < k->files; i++) {
    if (!find_file(dir, k->file[i].name, path, sizeof path)) continue; /* in a directory of its archive */
    if (fetch_verify(path, &k->file[i], why, sizeof why) != EXIT_DONE)
      return complain_usage("%s: %s: this isn't the published %s", path, why, k->name), EXIT_FAILED;
    printf("%s: SHA-256 is as published\n", path);
  }
  return EXIT_DONE;
}

/* Look at every image of every split. */
static rt_status look_through(const rt_data *data, const rt_data_info *info) {
  for (int split = 0; split < RT_SPLITS; split++) {
    rt_loader *loader;
    rt_batch batch = {0};
    if (!info->count[split]) continue;
    rt_status s = rt_loader_new(data, (rt_split)split, "ahead=0", NULL, &loader);
    while (s == RT_OK && !batch.last) s = rt_loader_next(loader, &batch);
    rt_loader_free(loader);
    if (s != RT_OK) return s;
  }
  return RT_OK;
}

static int check(const char *text) {
  rt_data_kind k;
  rt_data *data;
  rt_data_info info;
  if (find_kind(text, &k) != EXIT_DONE) return EXIT_USAGE;
  rt_status s = rt_data_open(text, options_text, &data);
  if (s != RT_OK) return complain(s);
  rt_data_describe(data, &info);
  int status = check_files(&k, info.directory);
  if (status == EXIT_DONE && (s = look_through(data, &info)) != RT_OK) status = complain(s);
  if (status == EXIT_DONE)
    printf("%s: %lld training, %lld validation and %lld test images, %lldx%lldx%lld, %lld classes: good\n", info.kind,
           (long long)info.count[RT_TRAIN], (long long)info.count[RT_VALIDATION], (long long)info.count[RT_TEST],
           (long long)info.channels, (long long)info.height, (long long)info.width, (long long)info.classes);
  rt_data_free(data);
  return status;
}

/* ---- get ---- */

static int make_directories(const char *path) {
  char part[4096];
  if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) return complain_usage("%s: too long a path", path);
  for (char *p = part + 1;; p++) {
    if (*p && *p != '/') continue;
    char c = *p;
    *p = 0;
    if (mkdir(part, 0777) != 0 && errno != EEXIST)
      return complain_usage("%s: can't be made: %s", part, strerror(errno)), EXIT_FAILED;
    *p = c;
    if (!c) return EXIT_DONE;
  }
}

/* What a URL becomes with a mirror. */
static void locate(const char *url, char *out, size_t size) {
  const char *mirror = base ? base : getenv("RETORT_MIRROR");
  if (mirror && *mirror)
    snprintf(out, size, "%s%s%s", mirror, mirror[strlen(mirror) - 1] == '/' ? "" : "/", strrchr(url, '/') + 1);
  else
    snprintf(out, size, "%s", url);
}

static bool is_there(const rt_data_file *f, const char *dir) {
  char path[4096], why[256];
  return find_file(dir, f->name, path, sizeof path) && fetch_verify(path, f, why, sizeof why) == EXIT_DONE;
}

static int get_file(const rt_data_file *f, const char *dir) {
  char url[2048], path[4096], fetched[4200], why[256];
  if (is_there(f, dir)) return EXIT_DONE;
  locate(f->url, url, sizeof url);
  snprintf(path, sizeof path, "%s/%s.gz", dir, f->name);
  snprintf(fetched, sizeof fetched, "%s.fetched", path);
  int status = fetch(url, fetched, f->bytes + (1 << 20), stall);
  if (status != EXIT_DONE) return status;
  if (fetch_verify(fetched, f, why, sizeof why) == EXIT_DONE && rename(fetched, path) == 0) return EXIT_DONE;
  unlink(fetched);
  return complain_usage("%s: %s: thrown away", url, why), EXIT_FAILED;
}

static int get_archive(const rt_data_kind *k, const char *dir) {
  char url[2048], path[4096];
  int64_t most = 1 << 20;
  int there = 0;
  for (int i = 0; i < k->files; i++) {
    there += is_there(&k->file[i], dir);
    most += k->file[i].bytes;
  }
  if (there == k->files) return EXIT_DONE;
  locate(k->archive, url, sizeof url);
  snprintf(path, sizeof path, "%s/%s", dir, strrchr(url, '/') + 1);
  int status = fetch(url, path, most, stall);
  if (status != EXIT_DONE) return status;
  status = fetch_unpack(path, k->file, k->files, dir);
  unlink(path);
  return status;
}

static int get(const char *name) {
  rt_data_kind k;
  char *home = NULL;
  if (find_kind(name, &k) != EXIT_DONE) return EXIT_USAGE;
  if (!k.files) return complain_usage("%s isn't to be had from anywhere: %s", name, k.summary);
  rt_status s = rt_data_home(k.name, &home);
  if (s != RT_OK) return complain(s);
  const char *dir = directory ? directory : home;
  int status = make_directories(dir);
  for (int i = 0; status == EXIT_DONE && !k.archive && i < k.files; i++) status = get_file(&k.file[i], dir);
  if (status == EXIT_DONE && k.archive) status = get_archive(&k, dir);
  if (status == EXIT_DONE) printf("%s is in %s\n", k.name, dir);
  rt_text_free(home);
  return status;
}

/* ---- preview ---- */

static int preview(const char *text) {
  static const char *const names[RT_SPLITS] = {"train", "validation", "test"};
  rt_image image;
  sheet_options o = {.data = text, .options = options_text, .augment = augment, .rows = rows, .columns = columns};
  while (o.split < RT_SPLITS && strcmp(split_name, names[o.split]) != 0) o.split++;
  if (o.split == RT_SPLITS) return complain_usage("--split %s: expected train, validation or test", split_name);
  if (!out_path) return complain_usage("preview: say where to, as in -o sheet.png");
  if (rows < 1 || rows > 100 || columns < 1 || columns > 100)
    return complain_usage("--rows and --columns must be from 1 to 100");
  rt_status s = sheet_make(&o, &image);
  if (s == RT_OK) s = rt_image_write(out_path, &image);
  free(image.pixel);
  return s == RT_OK ? EXIT_DONE : complain(s);
}

/* ---- which ---- */

static const struct action {
  const char *name;
  bool takes_name;
  int (*run)(const char *name);
} actions[] = {{"list", false, list}, {"get", true, get}, {"check", true, check}, {"preview", true, preview}};

static int run(const char *const *arguments, int n) {
  for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
    if (strcmp(arguments[0], actions[i].name) != 0) continue;
    if ((n == 2) != actions[i].takes_name)
      return complain_usage("data %s: %s", actions[i].name,
                            n == 2 ? "takes no name" : "say of which, as in fashion-mnist or cifar10:DIR");
    return actions[i].run(n == 2 ? arguments[1] : NULL);
  }
  return complain_usage("data: there is no %s; it does list, get, check and preview", arguments[0]);
}

const command command_data = {
    .name = "data",
    .arguments = "list | get NAME | check NAME | preview NAME",
    .summary = "data sets: what there is, fetch one, check one, look at one",
    .example = "retort data preview fashion-mnist --augment \"crop=2 flip\" -o sheet.png",
    .flags = flags,
    .least = 1,
    .most = 2,
    .run = run,
};
