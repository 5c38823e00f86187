#include "data/augment.h"

#include <math.h>
#include <string.h>

const rt_option rt_augment_options[] = {
    {"crop", RT_OPT_INT, offsetof(rt_augment, crop), "0", 0, 4096, NULL, "cut out of the image padded by so much"},
    {"reflect", RT_OPT_BOOL, offsetof(rt_augment, reflect), "false", 0, 0, NULL, "pad with the mirrored image"},
    {"flip", RT_OPT_BOOL, offsetof(rt_augment, flip), "false", 0, 0, NULL, "left and right, every other time"},
    {"alternate", RT_OPT_BOOL, offsetof(rt_augment, alternate), "false", 0, 0, NULL,
     "flip every image in every other epoch, instead of at random"},
    {"resized_crop", RT_OPT_FLOAT, offsetof(rt_augment, resized_crop), "0", 0, 1, NULL,
     "a random part of at least this area, scaled; 0: off"},
    {"brightness", RT_OPT_FLOAT, offsetof(rt_augment, brightness), "0", 0, 10, NULL, "changes by up to this factor"},
    {"contrast", RT_OPT_FLOAT, offsetof(rt_augment, contrast), "0", 0, 10, NULL, "the same"},
    {"saturation", RT_OPT_FLOAT, offsetof(rt_augment, saturation), "0", 0, 10, NULL, "the same"},
    {"hue", RT_OPT_FLOAT, offsetof(rt_augment, hue), "0", 0, 0.5, NULL, "turns by up to this part of the circle"},
    {"cutout", RT_OPT_INT, offsetof(rt_augment, cutout), "0", 0, 4096, NULL, "side of a square set to the mean"},
    {"mixup", RT_OPT_FLOAT, offsetof(rt_augment, mixup), "0", 0, 100, NULL, "alpha of the share of another image"},
    {"cutmix", RT_OPT_FLOAT, offsetof(rt_augment, cutmix), "0", 0, 100, NULL, "the same, as a rectangle of it"},
    {0},
};

rt_status rt_augment_check(const rt_augment *a, const rt_data *d) {
  int64_t side = d->height < d->width ? d->height : d->width;
  if (a->reflect && a->crop >= side)
    return rt_fail(RT_E_ARGUMENT, "augment: crop=%lld is too much to be mirrored at images of %lldx%lld",
                   (long long)a->crop, (long long)d->height, (long long)d->width);
  if (a->crop && a->resized_crop > 0)
    return rt_fail(RT_E_ARGUMENT, "augment: crop and resized_crop exclude each other");
  if (d->unlabelled && rt_augment_mixes(a))
    return rt_fail(RT_E_ARGUMENT, "augment: mixup and cutmix mix labels, and %lld of the training images have none",
                   (long long)d->unlabelled);
  bool bytes_only = a->resized_crop > 0 || a->brightness > 0 || a->contrast > 0 || a->saturation > 0 || a->hue > 0;
  if (d->dtype != RT_U8 && bytes_only)
    return rt_fail(RT_E_UNSUPPORTED, "augment: %s holds floating-point arrays, and scaling and colour need pixels",
                   d->row->name);
  if (d->channels == 2 || d->channels > 3) {
    if (bytes_only)
      return rt_fail(RT_E_UNSUPPORTED, "augment: scaling and colour need 1 or 3 channels, and %s has %lld",
                     d->row->name, (long long)d->channels);
  }
  return RT_OK;
}

/* ---- draws: purpose p has numbers 4p to 4p+3 of the variant ---- */

typedef enum purpose { CROP, FLIP, BOX, COLOUR = BOX + 10, ORDER, CUT, MIX, MIX_BOX, GAMMA } purpose;

typedef struct dice {
  rt_rng rng;
  uint64_t which; /* sample and variant */
} dice;

static dice dice_of(uint64_t seed, const char *stream, int64_t id, int64_t draw) {
  return (dice){{seed, rt_hash_text(stream)}, (uint64_t)draw << 40 ^ (uint64_t)id};
}

static double roll(const dice *d, int p, int k) {
  return (double)rt_uniform(d->rng, d->which, 4 * (uint64_t)p + (uint64_t)k);
}

/* A whole number below n; n is small beside the 2^24 values of a draw. */
static int64_t roll_below(const dice *d, int p, int k, int64_t n) { return (int64_t)(roll(d, p, k) * (double)n); }

/* ---- where pixels come from ---- */

typedef struct move {
  int64_t dy, dx; /* output (y, x) is input (y + dy, x + dx) */
  bool reflect, flip;
} move;

static int64_t mirror(int64_t i, int64_t n) { return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i; }

#define MOVE_ROW(type) \
  static void move_row_##type(const type *in, int64_t n, const move *m, type *out) { \
    int64_t begin = m->dx < 0 ? (-m->dx < n ? -m->dx : n) : 0, end = m->dx > 0 ? (n > m->dx ? n - m->dx : 0) : n; \
    for (int64_t x = 0; x < begin; x++) out[x] = m->reflect ? in[mirror(x + m->dx, n)] : 0; \
    if (begin < end) memcpy(out + begin, in + begin + m->dx, (size_t)(end - begin) * sizeof *in); \
    for (int64_t x = end; x < n; x++) out[x] = m->reflect ? in[mirror(x + m->dx, n)] : 0; \
    if (!m->flip) return; \
    for (int64_t a = 0, b = n - 1; a < b; a++, b--) { \
      type swap = out[a]; \
      out[a] = out[b]; \
      out[b] = swap; \
    } \
  }
MOVE_ROW(uint8_t)
MOVE_ROW(float)

/* Move one plane; `size` is 1 for bytes, 4 for floats. */
static void move_plane(const void *in, int64_t height, int64_t width, size_t size, const move *m, void *out) {
  for (int64_t y = 0; y < height; y++) {
    int64_t from = y + m->dy;
    if (m->reflect) from = mirror(from, height);
    char *row = (char *)out + (size_t)(y * width) * size;
    const char *source = (const char *)in + (size_t)(from * width) * size;
    if (from < 0 || from >= height)
      memset(row, 0, (size_t)width * size);
    else if (size == 1)
      move_row_uint8_t((const uint8_t *)source, width, m, (uint8_t *)row);
    else
      move_row_float((const float *)(const void *)source, width, m, (float *)(void *)row);
  }
}

void rt_data_move(const float *in, int64_t planes, int64_t height, int64_t width, int64_t dy, int64_t dx, bool flip,
                  float *out) {
  move m = {.dy = dy, .dx = dx, .reflect = true, .flip = flip};
  for (int64_t i = 0; i < planes; i++)
    move_plane(in + i * height * width, height, width, sizeof *in, &m, out + i * height * width);
}

static move move_of(const rt_augment *a, const dice *d, int64_t id, int64_t draw) {
  move m = {.reflect = a->reflect};
  if (a->crop) {
    m.dy = roll_below(d, CROP, 0, 2 * a->crop + 1) - a->crop;
    m.dx = roll_below(d, CROP, 1, 2 * a->crop + 1) - a->crop;
  }
  if (a->flip || a->alternate) {
    /* Alternating: a coin for the sample, turned over from one variant to the next. */
    dice first = {d->rng, (uint64_t)id};
    bool heads = roll(a->alternate ? &first : d, FLIP, 0) < 0.5;
    m.flip = a->alternate ? heads ^ (draw & 1) : heads;
  }
  return m;
}

/* ---- a random part, scaled: torchvision's RandomResizedCrop ---- */

static rt_box box_of(const dice *d, double least, int64_t height, int64_t width) {
  const double thin = 3.0 / 4.0, wide = 4.0 / 3.0;
  for (int k = 0; k < 10; k++) {
    double area = (double)(height * width) * (least + (1 - least) * roll(d, BOX + k, 0));
    double aspect = exp(log(thin) + (log(wide) - log(thin)) * roll(d, BOX + k, 1));
    int64_t w = (int64_t)nearbyint(sqrt(area * aspect)), h = (int64_t)nearbyint(sqrt(area / aspect));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    return (rt_box){roll_below(d, BOX + k, 2, height - h + 1), roll_below(d, BOX + k, 3, width - w + 1), h, w};
  }
  rt_box box = {.height = height, .width = width}; /* the largest middle part of an allowed shape */
  double aspect = (double)width / (double)height;
  if (aspect < thin) box.height = (int64_t)nearbyint((double)width / thin);
  if (aspect > wide) box.width = (int64_t)nearbyint((double)height * wide);
  box.top = (height - box.height) / 2;
  box.left = (width - box.width) / 2;
  return box;
}

static rt_status resized(const rt_augment *a, const rt_data *d, const dice *draws, int64_t id, uint8_t *planes) {
  rt_image image, part;
  rt_status s = d->row->read ? d->row->read(d, id, &image) : rt_image_of_sample(d, id, &image);
  if (s != RT_OK) return s;
  rt_box box = box_of(draws, a->resized_crop, image.height, image.width);
  s = rt_image_resize_box(&image, box, d->height, d->width, d->filter, &part);
  rt_image_release(&image);
  if (s != RT_OK) return s;
  rt_image_to_planes(&part, planes);
  rt_image_release(&part);
  return RT_OK;
}

/* ---- colour, in an order of its own every time ---- */

static void colour(const rt_augment *a, const dice *d, const rt_data *data, uint8_t *pixel) {
  const double reach[RT_COLOURS] = {a->brightness, a->contrast, a->saturation, a->hue};
  int order[RT_COLOURS] = {RT_BRIGHTNESS, RT_CONTRAST, RT_SATURATION, RT_HUE};
  for (int i = RT_COLOURS - 1; i > 0; i--) {
    int k = (int)roll_below(d, ORDER, i, i + 1), swap = order[i];
    order[i] = order[k];
    order[k] = swap;
  }
  for (int i = 0; i < RT_COLOURS; i++) {
    int what = order[i];
    double r = reach[what], u = roll(d, COLOUR, what), low = r < 1 ? 1 - r : 0;
    if (r <= 0) continue;
    double factor = what == RT_HUE ? (2 * u - 1) * r : low + u * (1 + r - low);
    rt_colour_adjust((rt_colour)what, factor, pixel, data->channels, data->height * data->width);
  }
}

/* ---- one image ---- */

static void cut_out(const rt_augment *a, const dice *d, const rt_data *data, float *x) {
  int64_t h = data->height, w = data->width;
  int64_t top = roll_below(d, CUT, 0, h) - a->cutout / 2, left = roll_below(d, CUT, 1, w) - a->cutout / 2;
  int64_t bottom = top + a->cutout < h ? top + a->cutout : h, right = left + a->cutout < w ? left + a->cutout : w;
  if (top < 0) top = 0;
  if (left < 0) left = 0;
  for (int64_t c = 0; c < data->channels; c++)
    for (int64_t y = top; y < bottom; y++)
      for (int64_t i = left; i < right; i++) x[(c * h + y) * w + i] = 0;
}

static rt_status image_by(const rt_augment *a, const rt_data *data, const dice *d, int64_t id, int64_t draw,
                          const rt_darkroom *room, float *x) {
  int64_t n = data->height * data->width, all = rt_data_pixels(data);
  move m = move_of(a, d, id, draw);
  bool moves = m.dy || m.dx || m.flip,
       colours = a->brightness > 0 || a->contrast > 0 || a->saturation > 0 || a->hue > 0;
  if (data->dtype == RT_F32) {
    const float *from = data->value + id * all;
    for (int64_t c = 0; c < data->channels; c++) {
      if (moves) move_plane(from + c * n, data->height, data->width, sizeof(float), &m, room->value);
      const float *in = moves ? room->value : from + c * n;
      for (int64_t i = 0; i < n; i++) x[c * n + i] = (in[i] - room->mean[c]) / room->deviation[c];
    }
  } else {
    rt_status s = RT_OK;
    const uint8_t *from = room->original;
    if (a->resized_crop > 0)
      s = resized(a, data, d, id, room->original);
    else if (data->pixel)
      from = data->pixel + id * all;
    else
      s = rt_image_sample(data, id, room->original);
    if (s != RT_OK) return s;
    for (int64_t c = 0; moves && c < data->channels; c++)
      move_plane(from + c * n, data->height, data->width, 1, &m, room->pixel + c * n);
    if (!moves && colours) memcpy(room->pixel, from, (size_t)all);
    if (colours) colour(a, d, data, room->pixel);
    const uint8_t *in = moves || colours ? room->pixel : from;
    for (int64_t c = 0; c < data->channels; c++)
      for (int64_t i = c * n; i < (c + 1) * n; i++) x[i] = room->table[c][in[i]];
  }
  if (a->cutout) cut_out(a, d, data, x);
  return RT_OK;
}

rt_status rt_augment_image(const rt_augment *a, const rt_data *data, uint64_t seed, int64_t id, int64_t draw,
                           const rt_darkroom *room, float *x) {
  dice d = dice_of(seed, "augment", id, draw);
  return image_by(a, data, &d, id, draw, room, x);
}

/* ---- two images ---- */

/* Gamma(shape, 1) by Marsaglia and Tsang (2000); the rejections walk on in the numbers after `at`. */
static double gamma_draw(const dice *d, double shape, uint64_t at) {
  double boost = 1;
  if (shape < 1) {
    boost = pow((double)rt_uniform(d->rng, d->which, at) + 0x1p-25, 1 / shape);
    shape += 1;
  }
  double k = shape - 1.0 / 3, c = 1 / sqrt(9 * k);
  for (uint64_t i = 0;; i++) {
    double z = (double)rt_normal(d->rng, d->which, at + 4 + 8 * i), v = 1 + c * z;
    double u = (double)rt_uniform(d->rng, d->which, at + 8 + 8 * i) + 0x1p-25;
    v = v * v * v;
    if (v > 0 && log(u) < 0.5 * z * z + k - k * v + k * log(v)) return boost * k * v;
  }
}

static double beta_draw(const dice *d, double alpha) {
  double a = gamma_draw(d, alpha, 4 * GAMMA), b = gamma_draw(d, alpha, 1u << 20);
  return a + b > 0 ? a / (a + b) : 0.5; /* a tiny alpha may round both to nothing */
}

/* Put a rectangle of about `part` of the partner's area into x; returns the share of x that stays. */
static float paste(const dice *d, const rt_data *data, double part, const float *partner, float *x) {
  int64_t h = data->height, w = data->width;
  int64_t high = (int64_t)((double)h * sqrt(part)), wide = (int64_t)((double)w * sqrt(part));
  int64_t top = roll_below(d, MIX_BOX, 0, h) - high / 2, left = roll_below(d, MIX_BOX, 1, w) - wide / 2;
  int64_t bottom = top + high < h ? top + high : h, right = left + wide < w ? left + wide : w;
  if (top < 0) top = 0;
  if (left < 0) left = 0;
  if (bottom <= top || right <= left) return 1;
  for (int64_t c = 0; c < data->channels; c++)
    for (int64_t y = top; y < bottom; y++)
      memcpy(x + (c * h + y) * w + left, partner + (c * h + y) * w + left, (size_t)(right - left) * sizeof *x);
  return (float)(1 - (double)((bottom - top) * (right - left)) / (double)(h * w));
}

rt_status rt_augment_mixed(const rt_augment *a, const rt_data *data, rt_split split, uint64_t seed, int64_t id,
                           int64_t draw, const rt_darkroom *room, float *x, float *target) {
  dice mix = dice_of(seed, "augment.mix", id, draw), other = dice_of(seed, "augment.partner", id, draw);
  uint32_t w[4];
  rt_philox(mix.rng, mix.which, MIX, w);
  uint64_t count = (uint64_t)data->count[split]; /* below 2^32, so the product doesn't overflow */
  int64_t partner = data->id[split][w[0] * count >> 32];
  bool cut = a->cutmix > 0 && (a->mixup <= 0 || w[2] & 1);
  rt_status s = rt_augment_image(a, data, seed, id, draw, room, x);
  if (s == RT_OK) s = image_by(a, data, &other, partner, draw, room, room->partner);
  if (s != RT_OK) return s;
  float keep = (float)beta_draw(&mix, cut ? a->cutmix : a->mixup);
  if (cut)
    keep = paste(&mix, data, 1 - (double)keep, room->partner, x);
  else
    for (int64_t i = 0; i < rt_data_pixels(data); i++) x[i] = keep * x[i] + (1 - keep) * room->partner[i];
  memset(target, 0, (size_t)data->classes * sizeof *target);
  target[data->label[id]] = keep;
  target[data->label[partner]] += 1 - keep;
  return RT_OK;
}
