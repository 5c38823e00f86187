/* What a run can be told, and what it means. */
#include "base/alloc.h"
#include "base/file.h"
#include "kernel/kernel.h"
#include "train/train.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(name) offsetof(rt_train_settings, name)
static const rt_option table[] = {
    {"model", RT_OPT_TEXT, FIELD(model), "", 0, 0, NULL,
     "NAME or NAME:OPTIONS, as in resnet20 or \"mlp:hidden=64,64\"; or an .onnx file, to go on with"},
    {"data", RT_OPT_TEXT, FIELD(data), "", 0, 0, NULL, "NAME or NAME:PATH of a data set"},
    {"data_options", RT_OPT_TEXT, FIELD(data_options), "", 0, 0, NULL, "of the data set, as in \"subset=5000\""},
    {"augment", RT_OPT_TEXT, FIELD(augment), "auto", 0, 0, NULL,
     "changes to training images, as in \"crop=4 flip\"; none; auto: what the data set usually gets"},
    {"draws", RT_OPT_INT, FIELD(draws), "0", 0, 1 << 20, NULL,
     "augmented variants of an image, taken in turn; 0: a new one every epoch"},
    {"teacher", RT_OPT_TEXT, FIELD(teacher), "", 0, 0, NULL,
     "file of a network to learn from (or NAME:OPTIONS, untrained: to try things out)"},
    {"teacher_model", RT_OPT_TEXT, FIELD(teacher_model), "", 0, 0, NULL,
     "which model a teacher's file holds, NAME or NAME:OPTIONS, where it doesn't say it"},
    {"teacher_mean", RT_OPT_TEXT, FIELD(teacher_mean), "", 0, 0, NULL,
     "that it learned with, a number a channel of pixels in 0 to 1, as in \"0.485,0.456,0.406\", where the file "
     "doesn't say it"},
    {"teacher_std", RT_OPT_TEXT, FIELD(teacher_std), "", 0, 0, NULL, "the same for the deviation"},
    {"losses", RT_OPT_TEXT, FIELD(losses), "auto", 0, 0, NULL,
     "terms that are added up, as in \"kd:weight=0.9,temperature=4\"; auto: cross_entropy, with a teacher a tenth of "
     "it and "
     "nine tenths of kd"},
    {"layers", RT_OPT_TEXT, FIELD(layers), "auto", 0, 0, NULL,
     "that terms without layers of their own compare, as in \"layer1:layer2+layer3\" (student:teacher); auto: those of "
     "one resolution, or the last ones"},
    {"alpha", RT_OPT_TEXT, FIELD(alpha), "", 0, 0, NULL, "weight of one of a hard and a soft term, with alpha_is"},
    {"alpha_is", RT_OPT_CHOICE, FIELD(alpha_is), "unsaid", 0, 0, "unsaid|hard|soft",
     "which term's; the other has 1 − alpha"},
    {"teacher_weights", RT_OPT_TEXT, FIELD(teacher_weights), "mean", 0, 0, NULL,
     "of several teachers' logits in their mean, as in \"2,1\""},
    {"teacher_precision", RT_OPT_CHOICE, FIELD(teacher_precision), "auto", 0, 0, "auto|fp32|bf16|int8",
     "auto: the student's; int8: files that retort quantize made, which stay int8 whatever is said here"},
    {"teacher_mode", RT_OPT_CHOICE, FIELD(teacher_mode), "eval", 0, 0, "eval|train",
     "train: its batch norms use the batch's statistics, and its dropout drops"},
    {"through", RT_OPT_TEXT, FIELD(through), "", 0, 0, NULL,
     "models that are trained on the way, each from the one before it, the student last, as in \"resnet32;resnet20\"; "
     "same "
     "is the student's"},
    {"generations", RT_OPT_INT, FIELD(generations), "1", 1, 31, NULL,
     "born again: so many students one after the other, each learns from the one before it"},
    {"peers", RT_OPT_TEXT, FIELD(peers), "", 0, 0, NULL,
     "models that learn along, from the labels and from all others, as in \"resnet14;same\"; only the student is kept"},
    {"teacher_outputs", RT_OPT_TEXT, FIELD(teacher_outputs), "", 0, 0, NULL,
     "file (.npz …) of what a teacher said that can't run here: logits, ids of the samples, layers by name"},
    {"cache_teacher", RT_OPT_TEXT, FIELD(cache_teacher), "", 0, 0, NULL,
     "file that keeps what teachers say of every image and draw, for this run and others; with draws it is small"},
    {"cache_top", RT_OPT_INT, FIELD(cache_top), "0", 0, 1 << 20, NULL,
     "keep so many of an image's logits, the highest, and the mean of the rest; 0: all"},
    {"schedules", RT_OPT_TEXT, FIELD(schedules), "", 0, 0, NULL,
     "of other numbers than lr, as in \"kd.temperature: linear value=8 to=2; kd.weight: constant value=0.9 "
     "warmup=10%\""},
    {"epochs", RT_OPT_INT, FIELD(epochs), "20", 1, 1e6, NULL, "passes over the training images; with quantize 2"},
    {"batch", RT_OPT_INT, FIELD(batch), "128", 1, 1 << 20, NULL, "images a step"},
    {"accumulate", RT_OPT_INT, FIELD(accumulate), "1", 1, 1 << 16, NULL,
     "a step's images go through the network in so many parts, to need less memory"},
    {"recompute", RT_OPT_BOOL, FIELD(recompute), "true", 0, 0, NULL,
     "cheap activations are made again in the backward pass; false: kept, which is 7 to 10 % faster for a ResNet-50 "
     "and "
     "takes twice the memory"},
    {"optimizer", RT_OPT_CHOICE, FIELD(optimizer), "auto", 0, 0, "auto|sgd|adamw|muon",
     "how a step is made of a gradient; auto: muon at its own learning rate, sgd at one that is given and with "
     "quantize"},
    {"optimizer_options", RT_OPT_TEXT, FIELD(optimizer_options), "", 0, 0, NULL, "more of it, as in \"beta2=0.95\""},
    {"lr", RT_OPT_TEXT, FIELD(lr), "auto", 0, 0, NULL,
     "highest learning rate; auto: muon 0.02 and adamw 0.001 by the root of batch / 128, sgd 0.1 per 128 images; with "
     "quantize a tenth"},
    {"weight_decay", RT_OPT_TEXT, FIELD(weight_decay), "auto", 0, 0, NULL,
     "of weights, not of norms and biases; auto: sgd 5e-4, adamw and muon 0.05"},
    {"schedule", RT_OPT_TEXT, FIELD(schedule), "cosine warmup=5%", 0, 0, NULL,
     "what the learning rate is multiplied by"},
    {"momentum", RT_OPT_FLOAT, FIELD(momentum), "0.9", 0, 1, NULL, "of sgd"},
    {"label_smoothing", RT_OPT_FLOAT, FIELD(label_smoothing), "0", 0, 1, NULL,
     "share of the target spread over all classes"},
    {"clip", RT_OPT_FLOAT, FIELD(clip), "0", 0, 1e18, NULL, "norm that gradients are scaled down to; 0: off"},
    {"ema", RT_OPT_FLOAT, FIELD(ema), "0", 0, 1, NULL,
     "decay of a moving average of the weights, which then is what is evaluated and saved; 0: off"},
    {"nesterov", RT_OPT_BOOL, FIELD(nesterov), "true", 0, 0, NULL, "look ahead along the momentum of sgd"},
    {"precision", RT_OPT_CHOICE, FIELD(precision), "auto", 0, 0, "auto|fp32|bf16", "auto: bf16 where the CPU has it"},
    {"kernels", RT_OPT_CHOICE, FIELD(kernels), "auto", 0, 0, "auto|direct|reference",
     "direct: convolutions without Winograd"},
    {"tta", RT_OPT_CHOICE, FIELD(tta), "none", 0, 0, "none|flip|flip+translate",
     "views of a test image whose logits are averaged at the end"},
    {"seed", RT_OPT_INT, FIELD(seed), "0", 0, 9e15, NULL, "of everything random that has no seed of its own"},
    {"init_seed", RT_OPT_TEXT, FIELD(init_seed), "auto", 0, 0, NULL, "of the first weights"},
    {"order_seed", RT_OPT_TEXT, FIELD(order_seed), "auto", 0, 0, NULL, "of the order of images"},
    {"augment_seed", RT_OPT_TEXT, FIELD(augment_seed), "auto", 0, 0, NULL, "of augmentation"},
    {"dropout_seed", RT_OPT_TEXT, FIELD(dropout_seed), "auto", 0, 0, NULL, "of dropout"},
    {"validation", RT_OPT_FLOAT, FIELD(validation), "0.1", 0, 1, NULL,
     "part of the training images held out to choose the best epoch by; 0: train on all, keep the last"},
    {"patience", RT_OPT_INT, FIELD(patience), "0", 0, 1e6, NULL,
     "stop after so many epochs without a better one; 0: never"},
    {"init", RT_OPT_TEXT, FIELD(init), "", 0, 0, NULL, "file with the weights to begin with"},
    {"mean", RT_OPT_TEXT, FIELD(mean), "", 0, 0, NULL,
     "of pixels in 0 to 1, a number a channel, that images are normalised with; left out: what the file `init` learned "
     "with, else the data's own"},
    {"std", RT_OPT_TEXT, FIELD(std), "", 0, 0, NULL, "the same for the deviation"},
    {"quantize", RT_OPT_CHOICE, FIELD(quantize), "none", 0, 0, "none|qat",
     "qat: go on from the weights in `init` with the rounding of int8 in every step; ends as an int8 file, too"},
    {"quantize_options", RT_OPT_TEXT, FIELD(quantize_options), "", 0, 0, NULL,
     "of it, as in \"target=fbgemm keep=fp32:fc\"; learned=true trains the steps between levels (LSQ); "
     "freeze_statistics=80% and freeze_ranges=75% say when batch norms and ranges stay as they are"},
    {"allow_partial", RT_OPT_BOOL, FIELD(allow_partial), "false", 0, 0, NULL,
     "take from that file what fits: for a new head"},
    {"reinsert_batchnorm", RT_OPT_BOOL, FIELD(reinsert_batchnorm), "false", 0, 0, NULL,
     "of an .onnx student whose exporter folded its batch norms: train with a new one behind every convolution"},
    {"threads", RT_OPT_INT, FIELD(threads), "0", 0, 256, NULL, "0: as many as processors"},
    {"loader_threads", RT_OPT_INT, FIELD(loader_threads), "1", 1, 32, NULL, "that prepare batches ahead"},
    {"checkpoint_steps", RT_OPT_INT, FIELD(checkpoint_steps), "0", 0, 1e12, NULL,
     "a checkpoint every so many steps too, not only every epoch"},
    {"log_steps", RT_OPT_INT, FIELD(log_steps), "50", 1, 1e12, NULL, "a line in metrics.jsonl every so many steps"},
    {"out", RT_OPT_TEXT, FIELD(out), "", 0, 0, NULL, "the run's directory; left out: the next free runs/NAME-N"},
    {"resume", RT_OPT_BOOL, FIELD(resume), "false", 0, 0, NULL, "go on with the run in out"},
    {0},
};

/* What a run may be told anew when it goes on: these change no bit of it. */
static const char *const free_settings[] = {
    "out", "resume", "cache_teacher", "recompute", "loader_threads", "checkpoint_steps", "log_steps"};

/* Lists, whose elements may be given one by one. */
static const struct {
  const char *name, *one, *join;
} lists[] = {{"teacher", "teacher", ";"}, {"losses", "loss", " "}, {"through", "through", ";"}, {"peers", "peer", ";"}};

int rt_train_setting_count(void) { return (int)(sizeof table / sizeof *table) - 1; }

rt_status rt_train_setting(int i, rt_setting *out) {
  if (i < 0 || i >= rt_train_setting_count())
    return rt_fail(RT_E_RANGE, "train: there are %d settings, and no number %d", rt_train_setting_count(), i);
  const rt_option *o = &table[i];
  *out = rt_option_setting(o);
  for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
    if (strcmp(lists[k].name, o->name) == 0) {
      out->one = lists[k].one;
      out->join = lists[k].join;
    }
  return RT_OK;
}

rt_status rt_settings_parse(rt_train_settings *o, const rt_pair *settings, int n, rt_arena *arena) {
  rt_status s = rt_options_parse(table, o, NULL, arena, "train");
  if (s == RT_OK) s = rt_options_apply(table, o, settings, n, arena, "train");
  bool epochs = false;
  for (int i = 0; i < n; i++) epochs |= strcmp(settings[i].key, "epochs") == 0;
  if (o->quantize && !epochs) o->epochs = 2;
  return s;
}

/* ---- config.json ---- */

static cJSON *settings_json(const rt_train_settings *o) {
  cJSON *all = cJSON_CreateObject(), *list = cJSON_AddObjectToObject(all, "settings");
  cJSON_AddStringToObject(all, "retort", RT_VERSION);
  for (const rt_option *t = table; t->name; t++) {
    rt_strbuf text = {0};
    if (t->offset == FIELD(resume) || t->offset == FIELD(out)) continue; /* of the command, not of the run */
    rt_option_print(t, o, &text);
    if (!text.text || !cJSON_AddStringToObject(list, t->name, text.text)) {
      cJSON_Delete(all);
      all = NULL;
    }
    rt_strbuf_release(&text);
    if (!all) break;
  }
  return all;
}

rt_status rt_settings_save(const rt_train_settings *o, const char *path) {
  cJSON *json = settings_json(o);
  char *text = json ? cJSON_Print(json) : NULL;
  cJSON_Delete(json);
  if (!text) return rt_fail(RT_E_MEMORY, "%s: out of memory", path);
  rt_status s = rt_write_line(path, text);
  cJSON_free(text);
  return s;
}

static rt_status read_config(rt_train_settings *o, const char *path, rt_arena *arena) {
  rt_map map;
  rt_status s = rt_map_open(path, &map);
  if (s != RT_OK) return s;
  cJSON *json = cJSON_ParseWithLength((const char *)map.data, map.size);
  rt_map_close(&map);
  const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "settings");
  if (!cJSON_IsObject(list)) s = rt_fail(RT_E_FORMAT, "%s: has no settings: not the config of a run", path);
  for (const cJSON *m = list ? list->child : NULL; m && s == RT_OK; m = m->next) {
    if (!cJSON_IsString(m))
      s = rt_fail(RT_E_FORMAT, "%s: %s is no text", path, m->string);
    else
      s = rt_option_set(table, o, m->string, m->valuestring, arena, path);
  }
  cJSON_Delete(json);
  return s;
}

bool rt_setting_is_free(const char *name) {
  for (size_t i = 0; i < sizeof free_settings / sizeof *free_settings; i++)
    if (strcmp(free_settings[i], name) == 0) return true;
  return false;
}

/* Settings that were given must say what the run's own say; "auto" does. */
static rt_status compare(const rt_train_settings *run, const rt_train_settings *given, const rt_pair *settings, int n) {
  rt_status s = RT_OK;
  for (int i = 0; i < n && s == RT_OK; i++) {
    const rt_option *t = rt_option_find(table, settings[i].key, strlen(settings[i].key));
    rt_strbuf old = {0}, now = {0};
    rt_option_print(t, run, &old);
    rt_option_print(t, given, &now);
    if (old.failed || now.failed)
      s = RT_E_MEMORY;
    else if (!rt_setting_is_free(t->name) && strcmp(now.text, "auto") != 0 && strcmp(old.text, now.text) != 0)
      s = rt_fail(RT_E_ARGUMENT,
                  "train: the run that is to go on has %s=%s, not %s; leave it out, or begin another run", t->name,
                  old.text, now.text);
    rt_strbuf_release(&old);
    rt_strbuf_release(&now);
  }
  return s;
}

rt_status rt_settings_resume(rt_train_settings *o, const char *config, const rt_pair *settings, int n,
                             rt_arena *arena) {
  rt_train_settings given = *o;
  rt_status s = read_config(o, config, arena);
  if (s == RT_OK) s = compare(o, &given, settings, n);
  for (int i = 0; i < n && s == RT_OK; i++)
    if (rt_setting_is_free(settings[i].key))
      s = rt_option_set(table, o, settings[i].key, settings[i].text, arena, "train");
  o->resume = true;
  o->out = given.out;
  return s;
}

/* ---- auto ---- */

double rt_settings_number(const char *text) { return strtod(text, NULL); }

/* Replace "auto" by the number; check one that was given. */
static rt_status resolve(const char *name, const char **text, double automatic, bool whole, rt_arena *arena) {
  char *end;
  if (strcmp(*text, "auto") == 0) {
    *text = rt_arena_text(arena, "%.9g", automatic);
    return *text ? RT_OK : RT_E_MEMORY;
  }
  double v = strtod(*text, &end);
  if (end != *text && !*end && isfinite(v) && v >= 0 && (!whole || (v == floor(v) && v <= 9e15))) return RT_OK;
  return rt_fail(RT_E_ARGUMENT, "train: %s=%s: expected auto, or a %snumber of at least 0", name, *text,
                 whole ? "whole " : "");
}

static rt_status resolve_seeds(rt_train_settings *o, rt_arena *arena) {
  const char **seed[] = {&o->init_seed, &o->order_seed, &o->augment_seed, &o->dropout_seed};
  static const char *const name[] = {"init_seed", "order_seed", "augment_seed", "dropout_seed"};
  const char *own = rt_arena_text(arena, "%lld", (long long)o->seed);
  rt_status s = own ? RT_OK : RT_E_MEMORY;
  for (int i = 0; i < 4 && s == RT_OK; i++) {
    if (strcmp(*seed[i], "auto") == 0) *seed[i] = own;
    s = resolve(name[i], seed[i], 0, true, arena);
  }
  return s;
}

/* Mutual learning (Zhang et al. 2018): labels, and the mean over the others of KL from what each says. */
static const char *mutual_losses(const char *peers, const char *hard, rt_arena *arena) {
  rt_strbuf text = {0};
  int n = 0;
  for (const char *p = peers; *p; p += *p == ';') {
    size_t length = strcspn(p, ";");
    n += length > 0;
    p += length;
  }
  rt_strbuf_add(&text, "cross_entropy%s%s", *hard ? ":" : "", hard);
  for (int i = 1; i <= n; i++) rt_strbuf_add(&text, " kd:from=%d,weight=%.9g,temperature=1", i, 1.0 / n);
  const char *kept = text.failed ? NULL : rt_arena_text(arena, "%s", text.text);
  rt_strbuf_release(&text);
  return kept;
}

static rt_status resolve_losses(rt_train_settings *o, bool teachers, rt_arena *arena) {
  bool smooth = o->label_smoothing > 0;
  if (strcmp(o->losses, "auto") != 0)
    return smooth ? rt_fail(RT_E_ARGUMENT,
                            "train: losses say what is learned; label_smoothing=%g belongs there, as in "
                            "cross_entropy:label_smoothing=%g",
                            o->label_smoothing, o->label_smoothing)
                  : RT_OK;
  const char *hard = smooth ? rt_arena_text(arena, "label_smoothing=%.9g", o->label_smoothing) : "";
  if (!teachers && *o->peers && hard)
    o->losses = mutual_losses(o->peers, hard, arena);
  else if (!teachers)
    o->losses = rt_arena_text(arena, "cross_entropy%s%s", smooth ? ":" : "", hard);
  else if (*o->alpha)
    o->losses = rt_arena_text(arena, "cross_entropy%s%s kd:temperature=4", smooth ? ":" : "", hard);
  else
    o->losses =
        rt_arena_text(arena, "cross_entropy:weight=0.1%s%s kd:weight=0.9,temperature=4", smooth ? "," : "", hard);
  return hard && o->losses ? RT_OK : RT_E_MEMORY;
}

rt_status rt_settings_resolve(rt_train_settings *o, const rt_data_info *data, bool teachers, rt_arena *arena) {
  double images = (double)o->batch / 128, lr = 0.1 * images, decay = 0.05;
  if (o->optimizer == RT_OPTIMIZER_AUTO)
    o->optimizer = strcmp(o->lr, "auto") == 0 && !o->quantize ? RT_OPTIMIZER_MUON : RT_OPTIMIZER_SGD;
  if (o->optimizer == RT_OPTIMIZER_SGD)
    decay = 5e-4;
  else
    lr = (o->optimizer == RT_OPTIMIZER_ADAMW ? 0.001 : 0.02) * sqrt(images);
  if (o->quantize) lr *= 0.1;
  rt_status s = resolve("lr", &o->lr, lr, false, arena);
  if (s == RT_OK) s = resolve("weight_decay", &o->weight_decay, decay, false, arena);
  if (s == RT_OK) s = rt_views_check((rt_tta)o->tta, data->height, data->width);
  if (s == RT_OK) s = resolve_seeds(o, arena);
  if (s == RT_OK) s = resolve_losses(o, teachers, arena);
  if (strcmp(o->augment, "auto") == 0) o->augment = *data->augment ? data->augment : "none";
  if (o->precision == RT_PRECISION_AUTO) o->precision = rt_cpu_get()->bf16 ? RT_PRECISION_BF16 : RT_PRECISION_FP32;
  if (o->teacher_precision == RT_PRECISION_AUTO) o->teacher_precision = o->precision;
  if (!o->threads) o->threads = rt_threads();
  return s;
}
