/* JPEG by libjpeg-turbo with its defaults (the accurate integer transform, smooth upsampling of colour), which are
 * Pillow's too. */
#include "data/image.h"

#include <setjmp.h>
#include <stdio.h> /* before jpeglib.h, which needs FILE */

#include <jpeglib.h>

#include <jerror.h>

enum { SCANS_MOST = 500 }; /* a progressive file of ten thousand scans only wants to waste time */

typedef struct decoder {
  struct jpeg_decompress_struct jpeg;
  struct jpeg_error_mgr error;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  jmp_buf out_of_here;
  const char *path;
} decoder;

static void failed(j_common_ptr jpeg) {
  decoder *d = jpeg->client_data;
  char message[JMSG_LENGTH_MAX];
  if (jpeg->err->msg_code == JERR_INPUT_EMPTY)
    rt_fail(RT_E_IO, "%s: not a good JPEG: it ends too early", d->path);
  else {
    jpeg->err->format_message(jpeg, message);
    rt_fail(RT_E_IO, "%s: not a good JPEG: %s", d->path, message);
  }
  longjmp(d->out_of_here, 1);
}

static void warned(j_common_ptr jpeg, int level) {
  if (level < 0) jpeg->err->num_warnings++;
}

static void nothing(j_decompress_ptr jpeg) { (void)jpeg; }

static boolean no_more(j_decompress_ptr jpeg) {
  ERREXIT(jpeg, JERR_INPUT_EMPTY);
  return FALSE;
}

static void skip(j_decompress_ptr jpeg, long n) {
  if (n <= 0) return;
  if ((size_t)n > jpeg->src->bytes_in_buffer) no_more(jpeg);
  jpeg->src->next_input_byte += n;
  jpeg->src->bytes_in_buffer -= (size_t)n;
}

static void count_scans(j_common_ptr jpeg) {
  if (((j_decompress_ptr)jpeg)->input_scan_number > SCANS_MOST) ERREXIT(jpeg, JERR_BAD_PROGRESSION);
}

/* Ink to light: files hold it inverted, as Adobe's programs write it. */
static void cmyk_row(const uint8_t *row, int64_t width, uint8_t *out) {
  for (int64_t x = 0; x < width; x++, row += 4, out += 3) {
    int light = row[3];
    for (int c = 0; c < 3; c++) {
      int product = (255 - row[c]) * light + 128;
      int level = light - (((product >> 8) + product) >> 8); /* light·ink/255, rounded */
      out[c] = (uint8_t)(level < 0 ? 0 : level);
    }
  }
}

static rt_status read_rows(decoder *d, rt_image *out, JSAMPARRAY spare) {
  bool ink = d->jpeg.out_color_space == JCS_CMYK;
  while (d->jpeg.output_scanline < d->jpeg.output_height) {
    uint8_t *to = out->pixel + (int64_t)d->jpeg.output_scanline * out->width * out->channels;
    JSAMPROW row = ink ? spare[0] : to;
    jpeg_read_scanlines(&d->jpeg, &row, 1);
    if (ink) cmyk_row(spare[0], out->width, to);
  }
  return RT_OK;
}

static rt_status decode(decoder *d, const uint8_t *bytes, int64_t n, rt_image *out) {
  if (setjmp(d->out_of_here)) return RT_E_IO;
  jpeg_create_decompress(&d->jpeg);
  d->source = (struct jpeg_source_mgr){.next_input_byte = bytes,
                                       .bytes_in_buffer = (size_t)n,
                                       .init_source = nothing,
                                       .fill_input_buffer = no_more,
                                       .skip_input_data = skip,
                                       .resync_to_restart = jpeg_resync_to_restart,
                                       .term_source = nothing};
  d->jpeg.src = &d->source;
  d->progress.progress_monitor = count_scans;
  d->jpeg.progress = &d->progress;
  jpeg_read_header(&d->jpeg, TRUE);
  /* Every block of 64 pixels takes a bit at least, unless arithmetic coding squeezes it further. */
  int64_t ratio = d->jpeg.arith_code ? INT32_MAX : 64 * 8;
  rt_status s = rt_image_believable(d->jpeg.image_height, d->jpeg.image_width, n, ratio, d->path);
  if (s != RT_OK) return s;
  d->jpeg.mem->max_memory_to_use = 1 << 30;
  int components = d->jpeg.num_components;
  d->jpeg.out_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_start_decompress(&d->jpeg);
  s = rt_image_new(d->jpeg.output_height, d->jpeg.output_width, components == 1 ? 1 : 3, out);
  if (s != RT_OK) return s;
  JSAMPARRAY spare =
      d->jpeg.mem->alloc_sarray((j_common_ptr)&d->jpeg, JPOOL_IMAGE, d->jpeg.output_width * (JDIMENSION)4, 1);
  return read_rows(d, out, spare);
}

rt_status rt_jpeg_decode(const uint8_t *bytes, int64_t n, const char *path, rt_image *out) {
  decoder d = {.path = path};
  *out = (rt_image){0};
  d.jpeg.err = jpeg_std_error(&d.error);
  d.jpeg.client_data = &d;
  d.error.error_exit = failed;
  d.error.emit_message = warned;
  rt_status s = decode(&d, bytes, n, out);
  jpeg_destroy_decompress(&d.jpeg);
  if (s != RT_OK) rt_image_release(out);
  return s;
}
