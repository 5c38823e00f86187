#include "sheet.h"

#include "font.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALLEST = 64, GAP = 6, CAPTION = GLYPH_HEIGHT + 4, PAPER = 255, INK = 0 };

typedef struct sheet {
  const sheet_options *o;
  rt_data_info info;
  int64_t zoom, cell_width, cell_height;
  rt_image *image;
} sheet;

static void draw_glyph(rt_image *image, int64_t top, int64_t left, const uint8_t row[GLYPH_HEIGHT]) {
  for (int y = 0; y < GLYPH_HEIGHT; y++)
    for (int x = 0; x < GLYPH_WIDTH; x++)
      if (row[y] >> (GLYPH_WIDTH - 1 - x) & 1) memset(image->pixel + 3 * ((top + y) * image->width + left + x), INK, 3);
}

static void draw_text(rt_image *image, int64_t top, int64_t left, int64_t width, const char *text) {
  for (; *text && width >= GLYPH_WIDTH; text++, left += GLYPH_WIDTH + 1, width -= GLYPH_WIDTH + 1)
    for (size_t i = 0; i < sizeof glyphs / sizeof *glyphs; i++)
      if (glyphs[i].character == toupper((unsigned char)*text)) draw_glyph(image, top, left, glyphs[i].row);
}

/* Arrays that aren't pixels are stretched to what they span. */
static void range_of(const sheet *s, const float *x, int64_t n, float *low, float *high) {
  *low = 0;
  *high = 1;
  if (s->info.dtype == RT_U8) return;
  *low = *high = x[0];
  for (int64_t i = 1; i < n; i++) {
    if (x[i] < *low) *low = x[i];
    if (x[i] > *high) *high = x[i];
  }
}

static void draw_cell(const sheet *s, int64_t row, int64_t column, const float *x, int64_t label) {
  int64_t h = s->info.height, w = s->info.width, channels = s->info.channels;
  int64_t top = GAP + row * s->cell_height, left = GAP + column * s->cell_width;
  float low, high;
  range_of(s, x, channels * h * w, &low, &high);
  for (int64_t py = 0; py < h * s->zoom; py++) {
    for (int64_t px = 0; px < w * s->zoom; px++) {
      uint8_t *p = s->image->pixel + 3 * ((top + py) * s->image->width + left + px);
      for (int64_t c = 0; c < 3; c++) {
        int64_t plane = channels == 3 ? c : 0;
        float v = (x[(plane * h + py / s->zoom) * w + px / s->zoom] - low) / (high > low ? high - low : 1);
        p[c] = (uint8_t)(v <= 0 ? 0 : v >= 1 ? 255 : v * 255 + 0.5f);
      }
    }
  }
  draw_text(s->image, top + h * s->zoom + 2, left, w * s->zoom, label < 0 ? "" : s->info.class_name[label]);
}

static rt_status draw_batch(const sheet *s, const rt_data *data, int64_t column, bool by_rows) {
  char options[256], numbers[2][80] = {"", ""};
  rt_loader *loader = NULL;
  rt_batch batch;
  for (int64_t c = 0; c < s->info.channels && c < 16; c++) { /* leave pixels as they are */
    strncat(numbers[0], c ? ",0" : "0", 4);
    strncat(numbers[1], c ? ",1" : "1", 4);
  }
  int64_t cells = by_rows ? s->o->rows : s->o->rows * s->o->columns;
  snprintf(options, sizeof options, "batch=%lld shuffle=true ahead=0 augment_seed=%lld mean=%s std=%s",
           (long long)cells, (long long)column, numbers[0], numbers[1]);
  rt_status status = rt_loader_new(data, s->o->split, options, s->o->augment, &loader);
  if (status == RT_OK) status = rt_loader_next(loader, &batch);
  for (int64_t i = 0; status == RT_OK && i < batch.n; i++) {
    const float *x = batch.x + i * batch.channels * batch.height * batch.width;
    if (by_rows)
      draw_cell(s, i, column, x, batch.label[i]);
    else
      draw_cell(s, i / s->o->columns, i % s->o->columns, x, batch.label[i]);
  }
  rt_loader_free(loader);
  return status;
}

static rt_status draw(sheet *s, const rt_data *data) {
  rt_status status = RT_OK;
  int64_t wide = s->info.width < s->info.height ? s->info.width : s->info.height;
  s->zoom = wide < SMALLEST ? (SMALLEST + wide - 1) / wide : 1;
  s->cell_width = s->info.width * s->zoom + GAP;
  s->cell_height = s->info.height * s->zoom + CAPTION + GAP;
  *s->image = (rt_image){GAP + s->o->rows * s->cell_height, GAP + s->o->columns * s->cell_width, 3, NULL};
  size_t bytes = (size_t)(3 * s->image->height * s->image->width);
  s->image->pixel = malloc(bytes);
  if (!s->image->pixel) return RT_E_MEMORY;
  memset(s->image->pixel, PAPER, bytes);
  if (!s->o->augment) return draw_batch(s, data, 0, false);
  for (int64_t column = 0; column < s->o->columns && status == RT_OK; column++)
    status = draw_batch(s, data, column, true);
  return status;
}

rt_status sheet_make(const sheet_options *o, rt_image *out) {
  rt_data *data;
  *out = (rt_image){0};
  rt_status status = rt_data_open(o->data, o->options, &data);
  if (status != RT_OK) return status;
  sheet s = {.o = o, .image = out};
  rt_data_describe(data, &s.info);
  status = draw(&s, data);
  rt_data_free(data);
  return status;
}
