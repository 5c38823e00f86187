/* What quantizing can be told. */
#include "base/alloc.h"
#include "quant/quant.h"

#include <string.h>

#define FIELD(name) offsetof(rt_quantize_settings, name)
static const rt_option table[] = {
    {"model", RT_OPT_TEXT, FIELD(model), "", 0, 0, NULL, "file with the weights of a trained network"},
    {"network", RT_OPT_TEXT, FIELD(network), "", 0, 0, NULL,
     "NAME or NAME:OPTIONS of its model, where the file doesn't say it"},
    {"mean", RT_OPT_TEXT, FIELD(mean), "", 0, 0, NULL,
     "of pixels in 0 to 1, a number a channel; the file's if it says it"},
    {"std", RT_OPT_TEXT, FIELD(std), "", 0, 0, NULL, "the same for the deviation"},
    {"method", RT_OPT_CHOICE, FIELD(method), "static", 0, 0, "static|dynamic|qat",
     "static: ranges of activations from images seen beforehand; dynamic: from the activations while they run; qat: "
     "two "
     "epochs of training with the rounding of int8 in them first"},
    {"convolutions", RT_OPT_BOOL, FIELD(convolutions), "false", 0, 0, NULL,
     "dynamic: convolutions too, not only matrix products"},
    {"data", RT_OPT_TEXT, FIELD(data), "", 0, 0, NULL,
     "NAME or NAME:PATH of a data set, to calibrate on and to measure with"},
    {"data_options", RT_OPT_TEXT, FIELD(data_options), "", 0, 0, NULL, "of the data set, as in \"validation=0.2\""},
    {"target", RT_OPT_CHOICE, FIELD(target), "auto", 0, 0, "auto|vnni|fbgemm|qnnpack",
     "vnni: weights per channel; fbgemm: activations of 7 bits too, for CPUs without VNNI; qnnpack: weights per "
     "tensor"},
    {"observer", RT_OPT_TEXT, FIELD(observer), "histogram", 0, 0, NULL,
     "how ranges are chosen: histogram, minmax, moving_average:rate=0.01, percentile:percent=99.999, entropy"},
    {"images", RT_OPT_INT, FIELD(images), "512", 1, 1e9, NULL, "training images to calibrate on"},
    {"batch", RT_OPT_INT, FIELD(batch), "64", 1, 1 << 20, NULL, "images at a time"},
    {"seed", RT_OPT_INT, FIELD(seed), "0", 0, 9e15, NULL, "which training images those are"},
    {"keep", RT_OPT_TEXT, FIELD(keep), "", 0, 0, NULL, "layers that stay floating, as in \"fp32:layer4.*;bf16:fc\""},
    {"schemes", RT_OPT_TEXT, FIELD(schemes), "", 0, 0, NULL,
     "weights of layers, as in \"conv1=per_tensor;layer1.*=per_channel\""},
    {"observers", RT_OPT_TEXT, FIELD(observers), "", 0, 0, NULL,
     "observers of layers, as in \"conv1=minmax;layer1.*=entropy\""},
    {"record", RT_OPT_TEXT, FIELD(record), "", 0, 0, NULL,
     "a quantization record to obey: its ranges are used, nothing is calibrated"},
    {"save_record", RT_OPT_TEXT, FIELD(save_record), "", 0, 0, NULL,
     "write the quantization record here, to read or to edit"},
    {"equalize", RT_OPT_BOOL, FIELD(equalize), "false", 0, 0, NULL,
     "even out the channels of neighbouring layers first: for weights per tensor"},
    {"correct_bias", RT_OPT_BOOL, FIELD(correct_bias), "false", 0, 0, NULL,
     "take out of the biases what rounding the weights adds on average"},
    {"winograd", RT_OPT_BOOL, FIELD(winograd), "true", 0, 0, NULL,
     "3x3 convolutions with fewer multiplications, rounded once more, where that is faster on this CPU"},
    {"analyze", RT_OPT_BOOL, FIELD(analyze), "false", 0, 0, NULL,
     "say what each layer costs: noise of weights and outputs, of the network with it alone in int8, time"},
    {"analyze_images", RT_OPT_INT, FIELD(analyze_images), "128", 1, 1e6, NULL, "to analyze with"},
    {"max_drop", RT_OPT_FLOAT, FIELD(max_drop), "0", 0, 100, NULL,
     "points of accuracy that may be lost; layers stay floating until it holds; 0: off"},
    {"quantize_options", RT_OPT_TEXT, FIELD(quantize_options), "", 0, 0, NULL,
     "of qat, as in \"learned=true\" (steps between levels are trained) or \"freeze_statistics=80% "
     "freeze_ranges=75%\""},
    {"threads", RT_OPT_INT, FIELD(threads), "0", 0, 256, NULL, "0: as many as processors"},
    {"out", RT_OPT_TEXT, FIELD(out), "", 0, 0, NULL, "the file to write: .pth or .safetensors, or .onnx (QDQ)"},
    {0},
};

/* Lists, and what one of their elements is called. */
static const struct {
  size_t offset;
  const char *one;
} lists[] = {{FIELD(keep), "keep"}, {FIELD(schemes), "scheme"}, {FIELD(observers), "layer_observer"}};

/* Those of rt_train that qat takes besides; retort train and distill, with quantize, take all. */
static const char *const training[] = {
    "teacher",    "teacher_model",    "teacher_mean",  "teacher_std", "losses",      "epochs",
    "lr",         "schedule",         "augment",       "validation",  "ema",         "precision",
    "accumulate", "checkpoint_steps", "cache_teacher", "draws",       "augment_seed"};
enum { OWN = sizeof table / sizeof *table - 1, TRAINING = sizeof training / sizeof *training };

bool rt_quantize_trains(const char *name) {
  for (int i = 0; i < TRAINING; i++)
    if (strcmp(training[i], name) == 0) return true;
  return false;
}

static rt_status training_setting(const char *name, rt_setting *out) {
  rt_status s = RT_OK;
  for (int i = 0; s == RT_OK; i++) {
    s = rt_train_setting(i, out);
    if (s == RT_OK && strcmp(out->name, name) == 0) break;
  }
  return s;
}

int rt_quantize_setting_count(void) { return OWN + TRAINING; }

rt_status rt_quantize_setting(int i, rt_setting *out) {
  if (i < 0 || i >= rt_quantize_setting_count())
    return rt_fail(RT_E_RANGE, "quantize: there are %d settings, and no number %d", rt_quantize_setting_count(), i);
  if (i >= OWN) return training_setting(training[i - OWN], out);
  const rt_option *o = &table[i];
  *out = rt_option_setting(o);
  for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
    if (lists[k].offset == o->offset) {
      out->one = lists[k].one;
      out->join = ";";
    }
  return RT_OK;
}

/* What is of training apart; a batch is of both. */
static rt_status part(rt_quantize_settings *o, const rt_pair *settings, int n, rt_arena *arena, rt_pair **others,
                      int *n_others) {
  rt_status s = RT_OK;
  *others = rt_arena_alloc(arena, (size_t)(n + 1) * sizeof **others);
  *n_others = 0;
  if (!*others) return RT_E_MEMORY;
  for (int i = 0; i < n && s == RT_OK; i++) {
    bool other = rt_quantize_trains(settings[i].key);
    if (other || strcmp(settings[i].key, "batch") == 0) (*others)[(*n_others)++] = settings[i];
    if (!other) s = rt_options_apply(table, o, &settings[i], 1, arena, "quantize");
  }
  return s;
}

static rt_status check_training(const rt_quantize_settings *o, const rt_pair *others, int n) {
  if (o->method == RT_METHOD_QAT) {
    const char *wrong = *o->record ? "record" : o->equalize ? "equalize" : o->correct_bias ? "correct_bias" : NULL;
    return wrong ? rt_fail(RT_E_ARGUMENT, "quantize: %s goes with method=static; qat finds weights and ranges itself",
                           wrong)
                 : RT_OK;
  }
  for (int i = 0; i < n; i++)
    if (rt_quantize_trains(others[i].key))
      return rt_fail(RT_E_ARGUMENT, "quantize: %s is of training, which is what method=qat does", others[i].key);
  return *o->quantize_options ? rt_fail(RT_E_ARGUMENT, "quantize: quantize_options goes with method=qat") : RT_OK;
}

rt_status rt_quantize_parse(rt_quantize_settings *o, const rt_pair *settings, int n, rt_arena *arena, rt_pair **others,
                            int *n_others) {
  rt_status s = rt_options_parse(table, o, NULL, arena, "quantize");
  if (s == RT_OK) s = part(o, settings, n, arena, others, n_others);
  if (s == RT_OK) s = check_training(o, *others, *n_others);
  if (s != RT_OK) return s;
  if (!*o->model) return rt_fail(RT_E_ARGUMENT, "quantize: model is missing: which file's network");
  if (!*o->out) return rt_fail(RT_E_ARGUMENT, "quantize: out is missing: which file to write");
  if (o->method == RT_METHOD_DYNAMIC && (o->correct_bias || o->max_drop > 0))
    return rt_fail(RT_E_ARGUMENT, "quantize: %s goes with static ranges, not with method=dynamic",
                   o->correct_bias ? "correct_bias" : "max_drop");
  if (o->method == RT_METHOD_DYNAMIC && rt_is_onnx(o->out))
    return rt_fail(RT_E_ARGUMENT,
                   "quantize: dynamic ranges aren't written as ONNX: write NAME.pth or .safetensors, not %s", o->out);
  if (o->convolutions && o->method != RT_METHOD_DYNAMIC)
    return rt_fail(RT_E_ARGUMENT, "quantize: convolutions goes with method=dynamic; the others take them anyway");
  if (!*o->record && !*o->data && o->method != RT_METHOD_DYNAMIC)
    return rt_fail(
        RT_E_ARGUMENT,
        "quantize: there are no images to calibrate on: data=NAME:PATH names some, or record=FILE brings ranges");
  if (!*o->data && (o->max_drop > 0 || o->analyze))
    return rt_fail(RT_E_ARGUMENT, "quantize: %s needs images: data=NAME:PATH", o->analyze ? "analyze" : "max_drop");
  return RT_OK;
}
