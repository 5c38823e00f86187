#include "base/alloc.h"
#include "base/file.h"
#include "data/image.h"

#include <png.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
  const char *path;
  const uint8_t *bytes;
  int64_t n, at;
  png_bytepp rows;
  rt_image *out;
} reader;

static void failed(png_structp png, png_const_charp message) {
  const char *path = png_get_error_ptr(png);
  rt_fail(RT_E_IO, "%s: not a good PNG: %s", path, message);
  png_longjmp(png, 1);
}

static void warned(png_structp png, png_const_charp message) {
  (void)png;
  (void)message;
}

static png_voidp take(png_structp png, png_alloc_size_t bytes) {
  (void)png;
  return rt_alloc(bytes);
}

static void give(png_structp png, png_voidp block) {
  (void)png;
  rt_free(block);
}

static void read_bytes(png_structp png, png_bytep to, size_t n) {
  reader *r = png_get_io_ptr(png);
  if ((int64_t)n > r->n - r->at) png_error(png, "it ends too early");
  memcpy(to, r->bytes + r->at, n);
  r->at += (int64_t)n;
}

/* 8 bits, grey or colour, no alpha. */
static void simplify(png_structp png, png_infop info) {
  int type = png_get_color_type(png, info), bits = png_get_bit_depth(png, info);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (type == PNG_COLOR_TYPE_GRAY && bits < 8) png_set_expand_gray_1_2_4_to_8(png);
  if (bits == 16) png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

static rt_status decode(png_structp png, png_infop info, reader *r) {
  if (setjmp(png_jmpbuf(png))) return RT_E_IO;
  png_set_read_fn(png, r, read_bytes);
  png_set_user_limits(png, RT_IMAGE_SIDE_MOST, RT_IMAGE_SIDE_MOST);
  png_set_chunk_malloc_max(png, 64 << 20);
  png_read_info(png, info);
  int64_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
  /* Deflate packs at most 1032 bytes into one, and a byte holds at most 8 pixels. */
  rt_status s = rt_image_believable(height, width, r->n, (int64_t)1032 * 8, r->path);
  if (s != RT_OK) return s;
  simplify(png, info);
  s = rt_image_new(height, width, png_get_channels(png, info), r->out);
  if (s != RT_OK) return s;
  size_t stride = (size_t)(width * r->out->channels);
  r->rows = rt_alloc_array((size_t)height, sizeof *r->rows);
  if (!r->rows) return RT_E_MEMORY;
  if (png_get_rowbytes(png, info) != stride) png_error(png, "its rows have an unexpected size");
  for (int64_t y = 0; y < height; y++) r->rows[y] = r->out->pixel + (size_t)y * stride;
  png_read_image(png, r->rows);
  return RT_OK;
}

rt_status rt_png_decode(const uint8_t *bytes, int64_t n, const char *path, rt_image *out) {
  reader r = {.path = path, .bytes = bytes, .n = n, .out = out};
  *out = (rt_image){0};
  png_structp png =
      png_create_read_struct_2(PNG_LIBPNG_VER_STRING, (void *)(uintptr_t)path, failed, warned, NULL, take, give);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  rt_status s = info ? decode(png, info, &r) : rt_fail(RT_E_MEMORY, "%s: out of memory", path);
  png_destroy_read_struct(&png, &info, NULL);
  rt_free(r.rows);
  if (s != RT_OK) rt_image_release(out);
  return s;
}

/* Where bytes go. */
static void put_in_buffer(png_structp png, png_bytep bytes, size_t n) {
  rt_strbuf *out = png_get_io_ptr(png);
  rt_strbuf_put(out, bytes, n);
  if (out->failed) png_error(png, "no memory for so large a one");
}

static void put_in_file(png_structp png, png_bytep bytes, size_t n) { rt_writer_put(png_get_io_ptr(png), bytes, n); }

/* libpng's own would take what bytes go to for a FILE. */
static void no_flush(png_structp png) { (void)png; }

static rt_status encode(png_structp png, png_infop info, png_rw_ptr put, void *to, const rt_image *image) {
  if (setjmp(png_jmpbuf(png))) return RT_E_IO;
  png_set_write_fn(png, to, put, no_flush);
  png_set_IHDR(png, info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
               image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (int64_t y = 0; y < image->height; y++) png_write_row(png, image->pixel + y * image->width * image->channels);
  png_write_end(png, info);
  return RT_OK;
}

static rt_status write_to(png_rw_ptr put, void *to, const char *path, const rt_image *image) {
  png_structp png =
      png_create_write_struct_2(PNG_LIBPNG_VER_STRING, (void *)(uintptr_t)path, failed, warned, NULL, take, give);
  png_infop info = png ? png_create_info_struct(png) : NULL;
  rt_status s = info ? encode(png, info, put, to, image) : rt_fail(RT_E_MEMORY, "%s: out of memory", path);
  png_destroy_write_struct(&png, &info);
  return s;
}

static rt_status check_writable(const char *path, const rt_image *image) {
  if ((image->channels == 1 || image->channels == 3) && image->height > 0 && image->width > 0) return RT_OK;
  return rt_fail(RT_E_ARGUMENT, "%s: an image of %lldx%lld with %lld channels can't be written", path,
                 (long long)image->height, (long long)image->width, (long long)image->channels);
}

rt_status rt_png_encode(const rt_image *image, const char *name, rt_strbuf *out) {
  rt_status s = check_writable(name, image);
  return s == RT_OK ? write_to(put_in_buffer, out, name, image) : s;
}

rt_status rt_image_write(const char *path, const rt_image *image) {
  rt_writer writer;
  rt_status s = check_writable(path, image);
  if (s == RT_OK) s = rt_writer_open(&writer, path);
  if (s != RT_OK) return s;
  s = write_to(put_in_file, &writer, path, image);
  if (s == RT_OK) return rt_writer_commit(&writer);
  rt_writer_discard(&writer);
  return s;
}
