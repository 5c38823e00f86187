#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { WIDEST = 160, LEAST_BAR = 10, MOST_BAR = 40 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int terminal_width(void) {
  struct winsize size;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_col) return 80;
  return size.ws_col < WIDEST ? size.ws_col : WIDEST;
}

/* "1:23", "2:03:04" */
static void time_text(double seconds, char *out, size_t size) {
  long s = seconds > 0 && seconds < 1e9 ? (long)(seconds + 0.5) : 0;
  if (s >= 3600)
    snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  else
    snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
}

void progress_clear(progress *p) {
  if (p->drawn > 0) fprintf(stderr, "\r\033[K");
  p->drawn = 0;
}

/* ---- the bar ---- */

/* Parts in order of importance; those that don't fit into the width are left out, and the bar takes what remains. */
static void draw(progress *p, const rt_news *n) {
  char part[5][64], line[WIDEST + 1], left[32];
  int width = terminal_width() - 1, used = 0, parts = 0;
  bool evaluating = n->kind == RT_NEWS_EVALUATE;
  time_text(n->seconds_left, left, sizeof left);
  snprintf(part[parts++], sizeof *part, "%s %lld/%lld", evaluating ? "validating epoch" : "epoch",
           (long long)n->epoch + 1, (long long)n->epochs);
  snprintf(part[parts++], sizeof *part, "  step %lld/%lld", (long long)n->index, (long long)n->count);
  if (!evaluating) {
    snprintf(part[parts++], sizeof *part, "  loss %.4f  accuracy %.2f %%", n->loss, 100 * n->accuracy);
    snprintf(part[parts++], sizeof *part, "  %s left", left);
    snprintf(part[parts++], sizeof *part, "  %.0f images/s", n->images_per_second);
  }
  int kept = 0;
  while (kept < parts && used + (int)strlen(part[kept]) <= width) used += (int)strlen(part[kept++]);
  int bar = width - used - 4;
  if (bar > MOST_BAR) bar = MOST_BAR;
  size_t length = 0;
  for (int i = 0; i < kept; i++) {
    length += (size_t)snprintf(line + length, sizeof line - length, "%s", part[i]);
    if (i > 0 || bar < LEAST_BAR) continue;
    int done = n->count ? (int)(bar * n->index / n->count) : 0;
    line[length++] = ' ';
    line[length++] = '[';
    memset(line + length, '.', (size_t)bar);
    memset(line + length, '=', (size_t)done);
    length += (size_t)bar;
    line[length++] = ']';
    line[length] = 0;
  }
  line[length] = 0;
  fprintf(stderr, "\r%s\033[K", line);
  fflush(stderr);
  p->drawn = now();
}

/* ---- lines ---- */

static void print_score(const char *name, const rt_score *s) {
  printf("%s %.2f %% (%lld of %lld), loss %.4f", name, 100 * s->top1, (long long)s->correct, (long long)s->images,
         s->loss);
}

static void print_epoch(const rt_news *n) {
  printf("epoch %lld/%lld: loss %.4f, accuracy %.2f %%", (long long)n->epoch + 1, (long long)n->epochs, n->loss,
         100 * n->accuracy);
  if (n->validation.images) print_score("; validation", &n->validation);
  printf("; %.0f images/s%s\n", n->images_per_second, n->best && n->validation.images ? "; best" : "");
}

static void print_line(const rt_news *n) {
  switch (n->kind) {
  case RT_NEWS_BEGIN:
    printf("%s: %lld epoch%s of %lld steps%s\n", n->directory, (long long)n->epochs, n->epochs == 1 ? "" : "s",
           (long long)n->count, n->step ? ", going on" : "");
    break;
  case RT_NEWS_NOTE: printf("note: %s\n", n->text); break;
  case RT_NEWS_EPOCH: print_epoch(n); break;
  default: return;
  }
  fflush(stdout);
}

void progress_tell(progress *p, const rt_news *news) {
  bool line = news->kind == RT_NEWS_BEGIN || news->kind == RT_NEWS_NOTE || news->kind == RT_NEWS_EPOCH;
  if (p->json && news->json) {
    progress_clear(p);
    puts(news->json);
    fflush(stdout);
  }
  if (p->quiet) return;
  if (line && !p->json) {
    progress_clear(p);
    print_line(news);
  }
  if ((news->kind == RT_NEWS_STEP || news->kind == RT_NEWS_EVALUATE) && isatty(STDERR_FILENO) && now() - p->drawn > 0.1)
    draw(p, news);
}
