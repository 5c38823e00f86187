#include "fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ATTEMPTS = 5, REDIRECTS = 10, CONNECT_SECONDS = 20 };

typedef struct download {
  const char *name;
  FILE *file;
  int64_t had, most; /* bytes before this attempt; at most, in all */
  int64_t got;       /* in this attempt */
  int shown;         /* per cent on the terminal */
} download;

static size_t receive(char *bytes, size_t size, size_t n, void *context) {
  download *d = context;
  d->got += (int64_t)(size * n);
  if (d->had + d->got > d->most) return 0;
  return fwrite(bytes, size, n, d->file);
}

static int show(void *context, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
  (void)up_total, (void)up_now;
  download *d = context;
  if (total <= 0 || !isatty(STDERR_FILENO)) return 0;
  int percent = (int)(100 * (d->had + now) / (d->had + total));
  if (percent == d->shown) return 0;
  d->shown = percent;
  fprintf(stderr, "\r%s %3d %% of %.1f MB", d->name, percent, (double)(d->had + total) / 1e6);
  return 0;
}

static int64_t size_of(const char *path) {
  struct stat s;
  return stat(path, &s) == 0 ? s.st_size : 0;
}

typedef enum outcome { COMPLETE, AGAIN, FROM_THE_START, HOPELESS } outcome;

static outcome judge(CURL *curl, CURLcode code, const download *d) {
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK) return COMPLETE;
  if (d->had + d->got > d->most) return HOPELESS;
  if (status == 416) return d->had ? COMPLETE : HOPELESS; /* nothing is left to send: the sum will tell */
  if (code == CURLE_RANGE_ERROR) return FROM_THE_START;
  if (code == CURLE_HTTP_RETURNED_ERROR) return status >= 500 || status == 429 ? AGAIN : HOPELESS;
  if (code == CURLE_WRITE_ERROR || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT) return HOPELESS;
  return AGAIN;
}

static void configure(CURL *curl, const char *url, download *d, int64_t stall, char *why) {
  curl_easy_setopt(curl, CURLOPT_URL, url);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, (long)REDIRECTS);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)stall);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, d);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, show);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, d);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)d->had);
}

static outcome attempt(CURL *curl, const char *url, const char *part, int64_t most, int64_t stall, char *why) {
  const char *slash = strrchr(url, '/');
  download d = {.name = slash ? slash + 1 : url, .had = size_of(part), .most = most, .shown = -1};
  why[0] = 0;
  d.file = fopen(part, "ab");
  if (!d.file) {
    snprintf(why, CURL_ERROR_SIZE, "%.180s can't be written: %.40s", part, strerror(errno));
    return HOPELESS;
  }
  configure(curl, url, &d, stall, why);
  CURLcode code = curl_easy_perform(curl);
  if (d.shown >= 0) fprintf(stderr, "\n");
  bool lost = ferror(d.file) || fflush(d.file) != 0 || fsync(fileno(d.file)) != 0;
  if (lost) snprintf(why, CURL_ERROR_SIZE, "%.180s can't be written: %.40s", part, strerror(errno));
  outcome o = lost ? HOPELESS : judge(curl, code, &d);
  if (d.had + d.got > most)
    snprintf(why, CURL_ERROR_SIZE, "more than the %lld bytes that can be right", (long long)most);
  if (!why[0]) snprintf(why, CURL_ERROR_SIZE, "%s", curl_easy_strerror(code));
  fclose(d.file);
  if (o == FROM_THE_START || d.had + d.got > most || size_of(part) == 0) unlink(part);
  return o;
}

int fetch(const char *url, const char *path, int64_t most, int64_t stall) {
  char part[4096], why[CURL_ERROR_SIZE];
  if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
    return complain_usage("%s: too long a path", path);
  CURL *curl = curl_easy_init();
  if (!curl) return complain_usage("libcurl can't be started");
  outcome o = AGAIN;
  for (int i = 0; i < ATTEMPTS && (o == AGAIN || o == FROM_THE_START); i++) {
    if (i && o == AGAIN) {
      fprintf(stderr, "%s: %s: %s; trying again\n", PROGRAM, url, why);
      sleep((unsigned)i);
    }
    o = attempt(curl, url, part, most, stall, why);
  }
  curl_easy_cleanup(curl);
  if (o == COMPLETE && rename(part, path) == 0) return EXIT_DONE;
  if (o == COMPLETE) snprintf(why, sizeof why, "%.180s can't be renamed: %.40s", part, strerror(errno));
  complain_usage("%s: %s%s%s", url, why, size_of(part) ? "; the same command goes on from what is in " : "",
                 size_of(part) ? part : "");
  return EXIT_FAILED;
}
