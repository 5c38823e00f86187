#include "base/file.h"
#include "report/report.h"
#include "retort.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

/* In a script "<" could end it; in JSON's texts it may be written by its number. */
static void put_json(rt_writer *w, const char *text) {
  for (const char *p = text; *p;) {
    size_t n = strcspn(p, "<");
    rt_writer_put(w, p, n);
    p += n;
    if (*p) rt_writer_put(w, "\\u003c", 6), p++;
  }
}

/* page.html with the parts that {{css}}, {{chart}}, {{script}} and {{data}} stand for. */
static void put_page(rt_writer *w, const char *json) {
  const char *p = (const char *)rt_page_html, *end = p + rt_page_html_size;
  while (p < end) {
    const char *mark = memmem(p, (size_t)(end - p), "{{", 2);
    rt_writer_put(w, p, (size_t)((mark ? mark : end) - p));
    if (!mark) return;
    if (strncmp(mark, "{{css}}", 7) == 0) rt_writer_put(w, rt_page_css, rt_page_css_size);
    if (strncmp(mark, "{{chart}}", 9) == 0) rt_writer_put(w, rt_chart_js, rt_chart_js_size);
    if (strncmp(mark, "{{script}}", 10) == 0) rt_writer_put(w, rt_page_js, rt_page_js_size);
    if (strncmp(mark, "{{data}}", 8) == 0) put_json(w, json);
    const char *close = memmem(mark, (size_t)(end - mark), "}}", 2);
    p = close ? close + 2 : end;
  }
}

/* ---- the summary as CSV, beside the page ---- */

static const cJSON *get(const cJSON *o, const char *key) { return cJSON_GetObjectItemCaseSensitive(o, key); }

static void put_text(rt_writer *w, const cJSON *text) {
  rt_writer_put(w, "\"", 1);
  for (const char *c = cJSON_IsString(text) ? text->valuestring : ""; *c; c++) {
    if (*c == '"') rt_writer_put(w, "\"", 1);
    rt_writer_put(w, c, 1);
  }
  rt_writer_put(w, "\"", 1);
}

static void put_number(rt_writer *w, const cJSON *o, const char *key) {
  char text[40] = ",";
  const cJSON *n = get(o, key);
  if (cJSON_IsNumber(n)) snprintf(text, sizeof text, ",%.9g", n->valuedouble);
  rt_writer_put(w, text, strlen(text));
}

static void put_rows(rt_writer *w, const cJSON *data) {
  const char *head = "stage,kind,model,parameters,macs,file_bytes,images,top1,top5,loss,ece\n";
  const cJSON *stage;
  rt_writer_put(w, head, strlen(head));
  cJSON_ArrayForEach(stage, get(data, "stages")) {
    const cJSON *result = get(stage, "result"), *test = get(result, "test");
    if (!test) continue;
    put_text(w, get(stage, "stage"));
    rt_writer_put(w, ",", 1);
    put_text(w, get(stage, "kind"));
    rt_writer_put(w, ",", 1);
    put_text(w, get(result, "model"));
    static const char *const of_model[] = {"parameters", "macs", "file_bytes"};
    static const char *const of_test[] = {"images", "top1", "top5", "loss", "ece"};
    for (int i = 0; i < 3; i++) put_number(w, result, of_model[i]);
    for (int i = 0; i < 5; i++) put_number(w, test, of_test[i]);
    rt_writer_put(w, "\n", 1);
  }
}

static rt_status write_csv(const char *page, const cJSON *data) {
  char path[2048];
  rt_writer w;
  size_t n = strlen(page);
  bool html = n > 5 && strcmp(page + n - 5, ".html") == 0;
  if (n + 8 > sizeof path) return rt_fail(RT_E_ARGUMENT, "%s: a shorter name, please", page);
  snprintf(path, sizeof path, "%.*s.csv", (int)(html ? n - 5 : n), page);
  rt_status s = rt_writer_open(&w, path);
  if (s != RT_OK) return s;
  put_rows(&w, data);
  return rt_writer_commit(&w);
}

rt_status rt_report(const char *const *directories, int n, const char *baseline, const char *path) {
  cJSON *data;
  rt_writer w;
  rt_status s = rt_report_gather(directories, n, baseline, &data);
  if (s != RT_OK) return s;
  char *json = cJSON_PrintUnformatted(data);
  if (!json) s = rt_fail(RT_E_MEMORY, "report: out of memory");
  if (s == RT_OK) s = rt_writer_open(&w, path);
  if (s == RT_OK) {
    put_page(&w, json);
    s = rt_writer_commit(&w);
  }
  if (s == RT_OK) s = write_csv(path, data);
  cJSON_free(json);
  cJSON_Delete(data);
  return s;
}
