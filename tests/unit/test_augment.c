/* What each augmentation does, on images made by hand: pixel (y, x) of image i is 1 + 16·y + x, or one colour. */
#include "data_dir.h"
#include "retort.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* needs setjmp.h, stdarg.h, stddef.h and stdint.h before it */

enum { IMAGES = 200, SIDE = 8, PIXELS = SIDE * SIDE, PAD = 2 };

static rt_data *counted, *plain; /* every image the same ramp; image i all of level i */

static int ramp(int y, int x) { return 1 + 16 * y + x; }

static rt_data *made_of(const uint8_t *pixels) {
  rt_data *data;
  char text[128];
  data_dir_mnist(pixels, IMAGES, SIDE, SIDE);
  snprintf(text, sizeof text, "mnist:%s", data_dir_path(""));
  if (rt_data_open(text, "validation=0", &data) != RT_OK) fail_msg("%s", rt_error());
  return data;
}

static int setup(void **state) {
  static uint8_t pixels[IMAGES * PIXELS];
  data_dir_make();
  for (int i = 0; i < IMAGES * PIXELS; i++) pixels[i] = (uint8_t)ramp(i % PIXELS / SIDE, i % SIDE);
  counted = made_of(pixels);
  for (int i = 0; i < IMAGES * PIXELS; i++) pixels[i] = (uint8_t)(i / PIXELS);
  plain = made_of(pixels);
  data_dir_remove();
  return 0;
}

static int teardown(void **state) {
  rt_data_free(counted);
  rt_data_free(plain);
  return 0;
}

/* Levels as they are: mean 0 and deviation 1/255 undo the scaling. */
static rt_loader *open_loader(const rt_data *data, const char *augment) {
  rt_loader *loader;
  if (rt_loader_new(data, RT_TRAIN, "batch=200 ahead=0 mean=0 std=0.0039215686", augment, &loader) != RT_OK)
    fail_msg("%s", rt_error());
  return loader;
}

static rt_batch next(rt_loader *loader) {
  rt_batch batch;
  if (rt_loader_next(loader, &batch) != RT_OK) fail_msg("%s", rt_error());
  return batch;
}

static int level(const float *x) { return (int)lrintf(*x); }

/* Find the shift and the mirroring that make an image of the ramp; 0 if there is none. */
static int explained(const float *x, int reflect, int *dy, int *dx, int *flip) {
  for (*dy = -PAD; *dy <= PAD; ++*dy)
    for (*dx = -PAD; *dx <= PAD; ++*dx)
      for (*flip = 0; *flip < 2; ++*flip) {
        int good = 1;
        for (int i = 0; i < PIXELS && good; i++) {
          int sy = i / SIDE + *dy, sx = (*flip ? SIDE - 1 - i % SIDE : i % SIDE) + *dx;
          int inside = sy >= 0 && sy < SIDE && sx >= 0 && sx < SIDE;
          if (reflect) {
            sy = sy < 0 ? -sy : sy >= SIDE ? 2 * SIDE - 2 - sy : sy;
            sx = sx < 0 ? -sx : sx >= SIDE ? 2 * SIDE - 2 - sx : sx;
          }
          good = level(x + i) == (inside || reflect ? ramp(sy, sx) : 0);
        }
        if (good) return 1;
      }
  return 0;
}

/* Every image is a shift and perhaps a mirroring, every one of the 50 comes, and about as often as it should. */
static void crop_and_flip(void **state) {
  for (int reflect = 0; reflect < 2; reflect++) {
    rt_loader *loader = open_loader(counted, reflect ? "crop=2 flip reflect" : "crop=2 flip");
    int seen[5][5][2] = {{{0}}}, mirrored = 0, rounds = 10;
    for (int k = 0; k < rounds; k++) {
      rt_batch b = next(loader);
      for (int i = 0; i < IMAGES; i++) {
        int dy, dx, flip;
        if (!explained(b.x + i * PIXELS, reflect, &dy, &dx, &flip)) fail_msg("image %d of round %d", i, k);
        seen[dy + PAD][dx + PAD][flip]++;
        mirrored += flip;
      }
    }
    for (int i = 0; i < 50; i++) /* 40 expected of 2000 */
      assert_true(((int *)seen)[i] > 12 && ((int *)seen)[i] < 80);
    assert_true(mirrored > 850 && mirrored < 1150);
    rt_loader_free(loader);
  }
}

/* A flip turns over in every epoch, and about half of the images begin with one. */
static void alternating(void **state) {
  rt_loader *loader = open_loader(counted, "alternate");
  int flipped[4][IMAGES], begin = 0;
  for (int epoch = 0; epoch < 4; epoch++) {
    rt_batch b = next(loader);
    for (int i = 0; i < IMAGES; i++) {
      int dy, dx;
      assert_true(explained(b.x + i * PIXELS, 0, &dy, &dx, &flipped[epoch][i]) && !dy && !dx);
      if (epoch) assert_int_equal(flipped[epoch][i], !flipped[epoch - 1][i]);
      begin += epoch == 0 && flipped[0][i];
    }
  }
  assert_true(begin > 70 && begin < 130);
  rt_loader_free(loader);
}

static void cutout(void **state) {
  rt_loader *loader = open_loader(counted, "cutout=4");
  int whole = 0;
  for (int k = 0; k < 5; k++) {
    rt_batch b = next(loader);
    for (int i = 0; i < IMAGES; i++) {
      int top = SIDE, left = SIDE, bottom = -1, right = -1, zeros = 0;
      for (int p = 0; p < PIXELS; p++) {
        int v = level(b.x + i * PIXELS + p), y = p / SIDE, x = p % SIDE;
        assert_true(v == 0 || v == ramp(y, x));
        if (v) continue;
        zeros++;
        top = y < top ? y : top, bottom = y > bottom ? y : bottom;
        left = x < left ? x : left, right = x > right ? x : right;
      }
      assert_int_equal(zeros, (bottom - top + 1) * (right - left + 1)); /* one rectangle, cut off by the border */
      assert_true(bottom - top < 4 && right - left < 4 && zeros >= 4);
      whole += zeros == 16;
    }
  }
  assert_true(whole > 300); /* 25/64 of 1000 */
  rt_loader_free(loader);
}

static void normalisation(void **state) {
  rt_loader *loader;
  assert_int_equal(rt_loader_new(counted, RT_TEST, "mean=0.25 std=0.5", NULL, &loader), RT_OK);
  rt_batch b = next(loader);
  for (int p = 0; p < PIXELS; p++) {
    float expected = ((float)ramp(p / SIDE, p % SIDE) / 255.0f - 0.25f) / 0.5f; /* bit for bit: PyTorch's order */
    assert_memory_equal(&b.x[p], &expected, sizeof expected);
  }
  rt_loader_free(loader);
}

/* A mixture of levels i and p has level λi + (1−λ)p, and its target says the same λ. */
static void mixed(void **state) {
  rt_loader *loader = open_loader(plain, "mixup=1");
  double share = 0;
  int partners[IMAGES] = {0}, different = 0;
  for (int k = 0; k < 5; k++) {
    rt_batch b = next(loader);
    for (int i = 0; i < IMAGES; i++) {
      const float *target = b.target + i * 10;
      double sum = 0;
      for (int c = 0; c < 10; c++) sum += (double)target[c];
      assert_true(fabs(sum - 1) < 1e-6);
      double own = (double)target[i % 10];
      share += own;
      if (own > 0.95 || own < 0.05) continue; /* too uneven to tell the partner, or of the same class */
      double partner = ((double)b.x[i * PIXELS] - own * i) / (1 - own);
      int p = (int)lrint(partner);
      assert_true(fabs(partner - p) < 0.01 && p >= 0 && p < IMAGES);
      assert_true(fabs((double)target[p % 10] - (1 - own)) < 1e-6);
      different += !partners[p]++;
      for (int q = 1; q < PIXELS; q++) assert_true(fabsf(b.x[i * PIXELS + q] - b.x[i * PIXELS]) < 1e-4f);
    }
  }
  assert_true(different > 150);
  assert_true(share / 1000 > 0.5 && share / 1000 < 0.6); /* ½ of an even λ, and a tenth of the partners' */
  rt_loader_free(loader);
}

static void cut_and_mixed(void **state) {
  rt_loader *loader = open_loader(plain, "cutmix=1");
  int cuts = 0;
  for (int k = 0; k < 5; k++) {
    rt_batch b = next(loader);
    for (int i = 0; i < IMAGES; i++) {
      const float *x = b.x + i * PIXELS, *target = b.target + i * 10;
      int own = 0, partner = -1;
      for (int p = 0; p < PIXELS; p++) {
        int v = level(x + p);
        own += v == i;
        if (v == i) continue;
        assert_true(partner < 0 || partner == v);
        partner = v;
      }
      double expected = own / (double)PIXELS + (partner >= 0 && partner % 10 == i % 10 ? 1 - own / (double)PIXELS : 0);
      if (partner < 0) expected = 1; /* nothing cut, or the image met itself */
      assert_true(fabs((double)target[i % 10] - expected) < 1e-6);
      cuts += partner >= 0;
    }
  }
  assert_true(cuts > 800);
  rt_loader_free(loader);
}

/* Beta(α, α) of a small α has its mass at the ends: most mixtures are nearly one of the two images. */
static void uneven_shares(void **state) {
  int ends[2] = {0};
  for (int i = 0; i < 2; i++) {
    rt_loader *loader = open_loader(plain, i ? "mixup=8" : "mixup=0.1");
    rt_batch b = next(loader);
    for (int k = 0; k < IMAGES; k++) {
      float most = 0;
      for (int c = 0; c < 10; c++) most = b.target[k * 10 + c] > most ? b.target[k * 10 + c] : most;
      ends[i] += most > 0.9f && most < 1;
    }
    rt_loader_free(loader);
  }
  assert_true(ends[0] > 60 && ends[1] < 10);
}

static void resized(void **state) {
  rt_loader *loader = open_loader(counted, "resized_crop=0.3");
  rt_batch b = next(loader);
  int same = 0;
  for (int i = 0; i < IMAGES; i++) {
    const float *x = b.x + i * PIXELS;
    for (int p = 0; p < PIXELS; p++) { /* a part of a ramp is a ramp, flatter */
      assert_true(level(x + p) >= 1 && level(x + p) <= ramp(7, 7));
      if (p % SIDE) assert_true(x[p] >= x[p - 1] - 0.001f);
      if (p >= SIDE) assert_true(x[p] > x[p - SIDE]);
    }
    same += level(x) == 1 && level(x + PIXELS - 1) == ramp(7, 7);
  }
  assert_true(same < 60); /* few are the whole image */
  rt_loader_free(loader);
}

/* On one grey level, brightness f gives f·level, and contrast (whose mean it is) leaves it. */
static void colour(void **state) {
  rt_loader *loader = open_loader(plain, "brightness=0.5");
  rt_batch b = next(loader);
  double least = 9, most = 0;
  for (int i = 20; i < IMAGES; i++) {
    double factor = ((double)level(b.x + i * PIXELS) + 0.5) / i;
    least = factor < least ? factor : least;
    most = factor > most && level(b.x + i * PIXELS) < 255 ? factor : most;
  }
  assert_true(least > 0.48 && least < 0.55 && most > 1.4 && most < 1.53);
  rt_loader_free(loader);
  loader = open_loader(plain, "contrast=0.9 saturation=0.5 hue=0.4");
  b = next(loader);
  for (int i = 0; i < IMAGES; i++) assert_int_equal(level(b.x + i * PIXELS), i);
  rt_loader_free(loader);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(crop_and_flip), cmocka_unit_test(alternating), cmocka_unit_test(cutout),
      cmocka_unit_test(normalisation), cmocka_unit_test(mixed),       cmocka_unit_test(cut_and_mixed),
      cmocka_unit_test(uneven_shares), cmocka_unit_test(resized),     cmocka_unit_test(colour)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
