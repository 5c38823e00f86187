/* The directory of a run. */
#include "base/file.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "train/train.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const char *rt_run_path(const rt_run *run, const char *file, char buffer[RT_RUN_PATH]) {
  snprintf(buffer, RT_RUN_PATH, "%s/%s", run->path, file);
  return buffer;
}

static rt_status fail(const char *path, const char *what) {
  return rt_fail(RT_E_IO, "%s: can't be %s: %s", path, what, strerror(errno));
}

/* The first of runs/NAME-1, runs/NAME-2 … that nobody has. */
static rt_status make_numbered(rt_run *run, const char *name) {
  enum { MOST = 100000 };
  rt_status s = rt_make_parents("runs/x");
  for (int i = 1; i <= MOST && s == RT_OK; i++) {
    snprintf(run->path, sizeof run->path, "runs/%s-%d", name, i);
    if (mkdir(run->path, 0777) == 0) return RT_OK;
    if (errno != EEXIST) s = fail(run->path, "made");
  }
  return s == RT_OK ? rt_fail(RT_E_IO, "runs: there are %d runs called %s: say where to, with out", MOST, name) : s;
}

static rt_status make_named(rt_run *run, const char *out, bool resume) {
  char config[RT_RUN_PATH];
  if (strlen(out) >= sizeof run->path) return rt_fail(RT_E_ARGUMENT, "train: out is longer than 1023 bytes");
  snprintf(run->path, sizeof run->path, "%s", out);
  rt_status s = rt_make_parents(out);
  if (s != RT_OK) return s;
  if (mkdir(out, 0777) != 0 && errno != EEXIST) return fail(out, "made");
  if (!resume && access(rt_run_path(run, "config.json", config), F_OK) == 0)
    return rt_fail(RT_E_ARGUMENT, "%s: there is a run already: resume it, or choose another directory", out);
  return RT_OK;
}

rt_status rt_run_open(rt_run *run, const char *out, const char *name, bool resume) {
  char path[RT_RUN_PATH];
  rt_status s = *out ? make_named(run, out, resume) : make_numbered(run, name);
  if (s != RT_OK) return s;
  rt_run_path(run, "metrics.jsonl", path);
  run->log = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (run->log < 0) return fail(path, "opened");
  if (flock(run->log, LOCK_EX | LOCK_NB) == 0) return RT_OK;
  return rt_fail(RT_E_IO, "%s: another process trains there", run->path);
}

void rt_run_close(rt_run *run) {
  if (run->log >= 0) close(run->log); /* and with it goes the lock */
  run->log = -1;
}

int64_t rt_run_length(const rt_run *run) {
  struct stat st;
  return fstat(run->log, &st) == 0 ? st.st_size : 0;
}

rt_status rt_run_line(rt_run *run, const char *json) {
  rt_strbuf line = {0};
  char path[RT_RUN_PATH];
  rt_strbuf_add(&line, "%s\n", json);
  rt_status s = line.failed ? RT_E_MEMORY : RT_OK;
  for (size_t done = 0; s == RT_OK && done < line.length;) {
    ssize_t n = write(run->log, line.text + done, line.length - done);
    if (n >= 0)
      done += (size_t)n;
    else if (errno != EINTR)
      s = fail(rt_run_path(run, "metrics.jsonl", path), "written");
  }
  rt_strbuf_release(&line);
  return s;
}

/* "checkpoint.safetensors.tmp-123", "model.best.pth.tmp-123.x7Yz" */
static void sweep(const rt_run *run) {
  char path[RT_RUN_PATH];
  DIR *dir = opendir(run->path);
  for (const struct dirent *e; dir && (e = readdir(dir));) {
    if (strstr(e->d_name, ".tmp-") && strlen(e->d_name) < 64) unlink(rt_run_path(run, e->d_name, path));
  }
  if (dir) closedir(dir);
}

rt_status rt_run_rewind(rt_run *run, int64_t bytes) {
  char path[RT_RUN_PATH];
  sweep(run);
  if (bytes >= rt_run_length(run)) return RT_OK;
  return ftruncate(run->log, bytes) == 0 ? RT_OK : fail(rt_run_path(run, "metrics.jsonl", path), "shortened");
}
