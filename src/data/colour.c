/* Changes of colour in the arithmetic of Pillow: every one of them is a blend of the image with a degenerate of itself
 * (black, its mean grey, its grey picture), in single precision, rounded down; hue turns in its 8-bit HSV. */
#include "data/augment.h"

#include <math.h>

static uint8_t blend(int degenerate, int value, float factor) {
  float p = (float)degenerate + factor * (float)(value - degenerate);
  return p <= 0 ? 0 : p >= 255 ? 255 : (uint8_t)p;
}

static int grey(const uint8_t *pixel, int64_t planes, int64_t n, int64_t i) {
  return planes == 3 ? rt_grey(pixel[i], pixel[n + i], pixel[2 * n + i]) : pixel[i];
}

static void towards(int degenerate, float factor, uint8_t *pixel, int64_t n) {
  uint8_t table[256];
  for (int p = 0; p < 256; p++) table[p] = blend(degenerate, p, factor);
  for (int64_t i = 0; i < n; i++) pixel[i] = table[pixel[i]];
}

static void brightness(double factor, uint8_t *pixel, int64_t planes, int64_t n) {
  towards(0, (float)factor, pixel, planes * n);
}

static void contrast(double factor, uint8_t *pixel, int64_t planes, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = 0; i < n; i++) sum += grey(pixel, planes, n, i);
  towards((int)((double)sum / (double)n + 0.5), (float)factor, pixel, planes * n);
}

static void saturation(double factor, uint8_t *pixel, int64_t planes, int64_t n) {
  if (planes != 3) return;
  for (int64_t i = 0; i < n; i++) {
    int g = grey(pixel, planes, n, i);
    for (int64_t c = 0; c < 3; c++) pixel[c * n + i] = blend(g, pixel[c * n + i], (float)factor);
  }
}

/* ---- hue: to HSV in 8 bits, turn, and back ---- */

typedef struct hsv {
  uint8_t h, s, v;
} hsv;

static uint8_t clip(int v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v); }

static hsv to_hsv(int r, int g, int b) {
  int most = r > g ? (r > b ? r : b) : (g > b ? g : b), least = r < g ? (r < b ? r : b) : (g < b ? g : b);
  if (most == least) return (hsv){0, 0, (uint8_t)most};
  float range = (float)(most - least), h;
  float rc = (float)(most - r) / range, gc = (float)(most - g) / range, bc = (float)(most - b) / range;
  if (r == most)
    h = bc - gc;
  else if (g == most)
    h = (float)(2.0 + (double)rc - (double)bc);
  else
    h = (float)(4.0 + (double)gc - (double)rc);
  h = (float)fmod((double)h / 6.0 + 1.0, 1.0);
  return (hsv){clip((int)((double)h * 255.0)), clip((int)((double)(range / (float)most) * 255.0)), (uint8_t)most};
}

static void from_hsv(hsv p, uint8_t out[3]) {
  if (p.s == 0) {
    out[0] = out[1] = out[2] = p.v;
    return;
  }
  static const uint8_t parts[6][3] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3}, {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
  double turn = (double)p.h * 6.0 / 255.0, whole = floor(turn), f = turn - whole, s = (double)p.s / 255.0;
  uint8_t level[4] = {p.v, clip((int)round(p.v * (1 - s))), clip((int)round(p.v * (1 - s * f))),
                      clip((int)round(p.v * (1 - s * (1 - f))))};
  const uint8_t *part = parts[(int)whole % 6];
  for (int c = 0; c < 3; c++) out[c] = level[part[c]];
}

static void hue(double factor, uint8_t *pixel, int64_t planes, int64_t n) {
  int shift = (int)(factor * 255);
  if (planes != 3) return;
  for (int64_t i = 0; i < n; i++) {
    hsv p = to_hsv(pixel[i], pixel[n + i], pixel[2 * n + i]);
    uint8_t rgb[3];
    p.h = (uint8_t)(p.h + shift);
    from_hsv(p, rgb);
    for (int64_t c = 0; c < 3; c++) pixel[c * n + i] = rgb[c];
  }
}

void rt_colour_adjust(rt_colour what, double factor, uint8_t *pixel, int64_t planes, int64_t n) {
  static void (*const adjust[RT_COLOURS])(double, uint8_t *, int64_t, int64_t) = {brightness, contrast, saturation,
                                                                                  hue};
  adjust[what](factor, pixel, planes, n);
}
