/* Data sets: a row says how one kind is read; splits, statistics and batches are the same for all. */
#ifndef RT_DATA_DATA_H
#define RT_DATA_DATA_H

#include "base/arena.h"
#include "base/option.h"
#include "base/status.h"
#include "data/image.h"

typedef struct rt_data_row rt_data_row;
typedef struct rt_data_source rt_data_source;

enum { RT_NO_LABEL = -1 };

struct rt_data {
  const rt_data_row *row;
  rt_arena arena;
  rt_data_source *source; /* owns what row->open makes: all down to `filter`, which other open sets may read too */
  const char *directory;  /* of its files; "" for a set that is made up */
  rt_dtype dtype;
  int64_t channels, height, width, classes;
  const char **class_name;
  int64_t given[RT_SPLITS]; /* samples as they came: training first, then the set's own validation part, then test */
  int64_t *label;           /* by sample id; RT_NO_LABEL where training samples have none */
  int64_t unlabelled;       /* of the training split */
  uint8_t *pixel;           /* samples × channels×height×width; NULL where row->read is asked for every image */
  float *value;             /* the same for RT_F32 */
  void *files;              /* what row->read needs to know; freed with rt_free */
  int64_t shorter;          /* how such images are fitted to the shape */
  rt_filter filter;
  int64_t *id[RT_SPLITS]; /* sample ids of a split; all in one block, that of RT_TRAIN */
  int64_t count[RT_SPLITS];
  float *mean, *deviation;
};

/* What every kind takes; first member of its options. */
typedef struct rt_data_common {
  double validation, test;
  int64_t subset, split_seed;
} rt_data_common;

#define RT_DATA_OPTIONS(type) \
  {"validation", \
   RT_OPT_FLOAT, \
   offsetof(type, common.validation), \
   "0.1", \
   0, \
   1, \
   NULL, \
   "part of the training images that is held out"}, \
      {"test", \
       RT_OPT_FLOAT, \
       offsetof(type, common.test), \
       "0.1", \
       0, \
       1, \
       NULL, \
       "part held out as test images where a set brings none"}, \
      {"subset", RT_OPT_INT, offsetof(type, common.subset), "0", 0, 1e12, NULL, "so many training images; 0: all"}, { \
    "split_seed", RT_OPT_INT, offsetof(type, common.split_seed), "0", 0, 9e18, NULL, "which images those are" \
  }

/* … and every kind that holds small pictures in memory. */
typedef struct rt_data_pictures {
  rt_data_common common;
  int64_t size[2];
} rt_data_pictures;

#define RT_DATA_SIZE_OPTION \
  { \
    "size", RT_OPT_PAIR, offsetof(rt_data_pictures, size), "0", 0, 4096, NULL, \
        "height and width that images are scaled to; 0: as they are" \
  }

struct rt_data_row {
  const char *name, *summary;
  bool needs_path;
  const char *const *places; /* where packages put it; NULL ends the list, and may be the list */
  const char *archive;
  const rt_data_file *file; /* the first of them tells a directory that has the set */
  int files;
  const rt_option *options;
  size_t options_size;
  const void *variant; /* what tells this row from others of its family */
  const char *augment; /* what training usually does to its images; NULL: nothing */
  /* Fill shape, classes, counts, labels and pixels; data->directory is set. A row that notes the files that it
   * reads says that they, and its own options, are all that this depends on: then sets that are open at a time share it. */
  rt_status (*open)(rt_data *data, const void *options);
  /* The image as its file has it, whatever its size. */
  rt_status (*read)(const rt_data *data, int64_t id, rt_image *out);
};

/* ---- for rows ---- */

/* The whole of a file, unpacked if it is gzip, at most `most` bytes; freed with rt_free. */
rt_status rt_data_slurp(const char *path, int64_t most, uint8_t **out, int64_t *bytes);
/* "directory/name", or "directory/name.gz" where only that exists; in the arena; NULL where there is neither. */
const char *rt_data_path(rt_arena *arena, const char *directory, const char *name);
/* Before it is read; a file that comes to lie in data->directory counts as a change. */
rt_status rt_data_note_file(rt_data *data, const char *path);
int64_t rt_data_samples(const rt_data *data);
int64_t rt_data_pixels(const rt_data *data); /* values of one image */
/* Memory for the labels of given[] samples, and for their values. */
rt_status rt_data_reserve_labels(rt_data *data);
rt_status rt_data_reserve(rt_data *data);
/* Pixels in memory, scaled to height and width; 0 is what they have. */
rt_status rt_data_scale(rt_data *data, const int64_t size[2]);
/* Classes without names are called by their numbers. */
rt_status rt_data_number_classes(rt_data *data);

/* ---- what is the same for all ---- */

/* Images and labels: those of a set that is open over the same files, or else by row->open. */
rt_status rt_data_take(rt_data *data, const void *options);
void rt_data_leave(rt_data_source *source);
rt_status rt_data_split(rt_data *data, const rt_data_common *options);
rt_status rt_data_measure(rt_data *data); /* mean and deviation of the training split */

/* Planes of images moved: output (y, x) is input (y + dy, x + dx), with pixels from outside mirrored in; then flipped left and
 * right. A move is less than the image. */
void rt_data_move(const float *in, int64_t planes, int64_t height, int64_t width, int64_t dy, int64_t dx, bool flip,
                  float *out);

/* n finite numbers with commas between; a failure's sentence begins with "what=text". */
rt_status rt_parse_numbers(const char *text, int64_t n, const char *what, float *out);

#endif
