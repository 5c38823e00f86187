#include "guard.h"

#include "base/alloc.h"
#include "format/format.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void give_up(const char *why, const char *detail) {
  fprintf(stderr, "%s: %s\n", why, detail);
  abort();
}

test_guard test_guard_new(const void *bytes, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (size + page - 1) / page * page;
  test_guard g = {.mapped = pages + page, .size = size};
  g.base = mmap(NULL, g.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (g.base == MAP_FAILED || mprotect(g.base + pages, page, PROT_NONE) != 0) give_up("guard", "no memory");
  g.bytes = g.base + pages - size;
  memcpy(g.bytes, bytes, size);
  return g;
}

void test_guard_free(test_guard *g) { munmap(g->base, g->mapped); }

rt_status test_read_all(const unsigned char *bytes, size_t size) {
  rt_file *file;
  int64_t live = rt_alloc_count().live;
  rt_status s = rt_file_open_bytes(bytes, size, "input", &file);
  for (int i = 0; s == RT_OK && i < rt_file_count(file); i++) {
    rt_file_info info;
    if (rt_file_entry(file, i, &info) != RT_OK) give_up("entry", rt_error());
    void *to = malloc((size_t)info.bytes + 1);
    if (!to) give_up("a tensor claims more than there is", info.name);
    s = rt_file_read(file, info.name, to, (size_t)info.bytes);
    free(to);
  }
  rt_file_free(file);
  if (s != RT_OK && strncmp(rt_error(), "input: ", 7) != 0) give_up("no sentence about the file", rt_error());
  if (rt_alloc_count().live != live) give_up("memory stays behind", rt_error());
  return s;
}

void test_refused(const void *bytes, size_t size, const char *fragment) {
  test_guard g = test_guard_new(bytes, size);
  rt_status s = test_read_all(g.bytes, size);
  test_guard_free(&g);
  if (s == RT_OK) give_up("read, and should be refused", fragment);
  if (s != RT_E_FORMAT || !strstr(rt_error(), fragment)) {
    fprintf(stderr, "expected: %s\n", fragment);
    give_up("found", rt_error());
  }
}

size_t test_put(unsigned char *out, size_t n, const void *bytes, size_t size) {
  memcpy(out + n, bytes, size);
  return n + size;
}
