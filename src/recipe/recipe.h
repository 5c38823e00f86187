/* Recipes: a YAML file that names stages, each of which makes something later stages use.
 *
 *   yaml.c      the file as a tree with lines and columns; --set
 *   text.c      a value of the tree as the text of a setting
 *   recipe.c    stages from the tree: defaults, checks, references
 *   expand.c    sweeps become stages, one for each point and seed
 *   stage.def   the kinds of stages, a file each (stage_*.c)
 *   measure.c   what is measured of every model
 *   sizes.c     parameters and multiply-adds of a model, untrained
 *   record.c    records/NAME.json: what a stage came to, and what it depended on
 *   run.c       stages in order; those done are skipped
 *   sweep.c     points of a sweep put together
 *
 * A stage is its settings as texts, the same that `retort train` and its like take as flags. */
#ifndef RT_RECIPE_RECIPE_H
#define RT_RECIPE_RECIPE_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "recipe/yaml.h"
#include "retort.h"

struct cJSON;
typedef struct rt_stage rt_stage;
typedef struct rt_stage_run rt_stage_run;

/* ---- kinds of stages ---- */

typedef struct rt_stage_kind {
  const char *name, *summary;
  rt_status (*setting)(int i, rt_setting *out); /* RT_E_RANGE past the end */
  const char *const *refers;            /* settings that name earlier stages, or files; NULL ends them; NULL: none */
  const char *file;                     /* a setting that names a file, never a stage; or NULL */
  const char *input;                    /* the one of them that `from` stands for; or NULL */
  const char *extension;                /* of the model that it makes; NULL: it makes none */
  bool always;                          /* made again every time: it reads whatever is there */
  bool (*is_free)(const char *setting); /* it changes no bit of what is made; NULL: all do */
  /* Are these settings possible? Before anything runs. */
  rt_status (*check)(const rt_pair *settings, int n);
  /* What it says goes into `result`. False in *going: interrupted. */
  rt_status (*run)(rt_stage_run *run, bool *going);
} rt_stage_kind;

const rt_stage_kind *rt_stage_kind_at(int i); /* NULL past the end */

typedef struct rt_stage_setting {
  const char *name; /* of the kind's table */
  const char *text;
  rt_yaml_place place;
} rt_stage_setting;

enum { RT_MOST_VARIABLES = 8 };

struct rt_stage {
  const rt_stage_kind *kind;
  const char *name;
  rt_yaml_place place;
  rt_stage_setting *setting;
  int n;
  int *needs; /* stages before it whose models it takes */
  int n_needs;
  const char *sweep, *part; /* of a point of a sweep: which, and the stage's name in it; else NULL */
  const char *same_as;      /* an earlier stage with these settings, which makes this one's model; else NULL */
  rt_pair variable[RT_MOST_VARIABLES]; /* their values; "seed" is one of them */
  int n_variables;
};

/* A file that stages take from elsewhere. */
typedef struct rt_recipe_file {
  const char *path;
  uint64_t hash;
  struct rt_recipe_file *next;
} rt_recipe_file;

struct rt_recipe {
  rt_arena arena;
  rt_recipe_file *files; /* those looked at so far */
  const char *path, *name;
  char *resolved; /* YAML, after --set */
  rt_stage *stage;
  int n, capacity;
};

/* Under which name its files are. */
static inline const char *rt_stage_file(const rt_stage *stage) { return stage->same_as ? stage->same_as : stage->name; }
/* The text of a setting, or NULL. */
const char *rt_stage_text(const rt_stage *stage, const char *name);
/* Append a stage; NULL without memory. */
rt_stage *rt_recipe_add(rt_recipe *recipe);
int rt_recipe_find(const rt_recipe *recipe, const char *name); /* -1: there is none */

/* "file:line:column: " before the sentence. */
rt_status rt_recipe_fail(const rt_recipe *recipe, rt_yaml_place place, rt_status status, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
rt_status rt_recipe_fail_in(const rt_recipe *recipe, rt_yaml_place place, rt_status status);

/* A value as the text of a setting: lists joined by what the setting says, mappings as "name:option=value". */
rt_status rt_recipe_value(const rt_recipe *recipe, const rt_yaml *value, const rt_setting *setting, rt_strbuf *out);

/* The stages of a list, defaults put in; `sweep` is the mapping they are in, or NULL. */
typedef struct rt_defaults {
  rt_stage_setting setting[64];
  int n;
} rt_defaults;
rt_status rt_recipe_read_stage(rt_recipe *recipe, const rt_yaml *item, const rt_defaults *defaults, rt_stage *out);
/* Row i of a table, RT_E_RANGE past its end: `setting` of kinds with a table of their own. */
rt_status rt_setting_at(const rt_setting *table, size_t n, int i, rt_setting *out);
rt_status rt_recipe_finish_stage(rt_recipe *recipe, rt_stage *stage);
rt_status rt_recipe_expand(rt_recipe *recipe, const rt_yaml *sweep, const rt_defaults *defaults);
/* The elements of a setting that refers to stages: one after another from *text; false at the end. */
bool rt_next_element(const char **text, char *element, size_t size);

/* ---- running ---- */

typedef struct rt_recipe_run {
  rt_recipe *recipe;
  const char *out;
  rt_recipe_listener *listen;
  void *context;
  int at;
  bool stop;
  char *data_text; /* of the data set that is open: the stage's, or that of the last stage that had one */
  rt_data *data;
} rt_recipe_run;

struct rt_stage_run {
  rt_recipe_run *all;
  const rt_stage *stage;
  struct cJSON *result;
  rt_pair *pair; /* settings; what names stages names their files */
  int n;
};

enum { RT_RECIPE_PATH = 1536 };

/* OUT/what */
const char *rt_recipe_path(const rt_recipe_run *run, char buffer[RT_RECIPE_PATH], const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *rt_stage_run_text(const rt_stage_run *run, const char *name); /* of a setting; "" */
/* The model that a stage makes: "OUT/NAME.pth", or .onnx where it comes from one. */
const char *rt_stage_model(const rt_recipe_run *run, const rt_stage *stage, char buffer[RT_RECIPE_PATH]);
/* A teacher's cache that isn't somewhere else belongs to the recipe's directory. */
void rt_recipe_place_cache(const rt_stage_run *run, rt_pair *pair, char path[RT_RECIPE_PATH]);
/* News of a training run in the stage that runs; false: stop. */
bool rt_recipe_training(rt_recipe_run *run, const rt_news *news);
void rt_recipe_say(rt_recipe_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- records ---- */

uint64_t rt_stage_hash(rt_recipe *recipe, const rt_stage *stage);
/* The record of a stage with this hash: RT_OK and *out NULL where there is none. */
rt_status rt_record_read(const rt_recipe_run *run, const char *name, struct cJSON **out);
/* A JSON object into a file, whole or not at all. */
rt_status rt_recipe_write_json(const char *path, struct cJSON *json);
rt_status rt_record_write(const rt_recipe_run *run, const char *name, struct cJSON *record);

/* ---- measuring ---- */

/* run->data is the stage's data set, if it has one; stays open for what the stage does, and for the next ones. */
rt_status rt_recipe_open_data(rt_stage_run *run);
/* Accuracy of a model's file on the test images of the stage's data, sizes, counts, the entropy of its outputs by temperature. */
rt_status rt_measure_model(rt_stage_run *run, const char *path, struct cJSON *to);
typedef struct rt_sizes {
  double parameters, macs; /* macs: of one image, in evaluation form */
} rt_sizes;
/* Of a network that is open, whatever made it. */
rt_status rt_network_sizes(rt_network *network, rt_sizes *out);
/* Of a model of the table on images of channels, height, width. */
rt_status rt_model_sizes(const char *name, const char *options, const int64_t image[3], rt_sizes *out);
typedef struct rt_cost {
  double seconds; /* an image */
  int64_t bytes;  /* activations and workspaces, derived weights, variables */
} rt_cost;
/* Of a training step of so many images, tried out; batch 0: of a forward pass. low: in bf16. recompute: as
 * the setting of that name. */
rt_status rt_model_cost(const char *name, const char *options, const int64_t image[3], int64_t batch, bool low,
                        bool recompute, rt_cost *out);
/* mean, sd, half of the 95 % interval of the mean (Student's t), and the values. */
struct cJSON *rt_statistics(const double *value, int n);

#endif
