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

/* page.html with the parts that {{css}}, {{licence}}, {{chart}}, {{script}} and {{data}} stand for. */
static void put_page(rt_writer *w, const char *json) {
  const char *p = (const char *)rt_page_html, *end = p + rt_page_html_size;
  while (p < end) {
    const char *mark = memmem(p, (size_t)(end - p), "{{", 2);
    rt_writer_put(w, p, (size_t)((mark ? mark : end) - p));
    if (!mark) return;
    if (strncmp(mark, "{{css}}", 7) == 0) rt_writer_put(w, rt_page_css, rt_page_css_size);
    if (strncmp(mark, "{{licence}}", 11) == 0) rt_writer_put(w, rt_chart_licence, rt_chart_licence_size);
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

static double number(const cJSON *o, const char *key) {
  const cJSON *item = get(o, key);
  return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* What the last bench stage says of a model, a run for each batch; without a name: of its first. */
static const cJSON *bench_of(const cJSON *data, const char *name) {
  const cJSON *stage, *model, *found = NULL;
  cJSON_ArrayForEach(stage, get(data, "stages")) {
    cJSON_ArrayForEach(model, get(get(stage, "result"), "models")) {
      const char *own = cJSON_GetStringValue(get(model, "name"));
      if (!name || (own && strcmp(own, name) == 0)) found = get(model, "runs");
      if (!name) break;
    }
  }
  return found;
}

static const char *const of_model[] = {"parameters", "macs", "file_bytes"};
static const char *const of_test[] = {"images", "top1", "top5", "loss", "ece"};
static const char *const of_run[] = {"p50_ms", "p99_ms", "images_per_second"};

static void put_head(rt_writer *w, const cJSON *data) {
  const char *head = "stage,kind,model,parameters,macs,file_bytes,images,top1,top5,loss,ece";
  const cJSON *run;
  rt_writer_put(w, head, strlen(head));
  cJSON_ArrayForEach(run, bench_of(data, NULL)) {
    for (int i = 0; i < 3; i++) {
      char text[80];
      int n = snprintf(text, sizeof text, ",%s_batch_%.0f", of_run[i], number(run, "batch"));
      rt_writer_put(w, text, (size_t)n);
    }
  }
  rt_writer_put(w, "\n", 1);
}

static void put_rows(rt_writer *w, const cJSON *data) {
  const cJSON *stage, *run;
  put_head(w, data);
  cJSON_ArrayForEach(stage, get(data, "stages")) {
    const cJSON *result = get(stage, "result"), *test = get(result, "test");
    if (!test) continue;
    put_text(w, get(stage, "stage"));
    rt_writer_put(w, ",", 1);
    put_text(w, get(stage, "kind"));
    rt_writer_put(w, ",", 1);
    put_text(w, get(result, "model"));
    for (int i = 0; i < 3; i++) put_number(w, result, of_model[i]);
    for (int i = 0; i < 5; i++) put_number(w, test, of_test[i]);
    int k = 0;
    const cJSON *runs = bench_of(data, cJSON_GetStringValue(get(stage, "stage")));
    cJSON_ArrayForEach(run, bench_of(data, NULL)) {
      const cJSON *own = cJSON_GetArrayItem(runs, k++);
      for (int i = 0; i < 3; i++) put_number(w, own, of_run[i]);
    }
    rt_writer_put(w, "\n", 1);
  }
}

/* A line for every point of every sweep. */
static void put_points(rt_writer *w, const cJSON *data) {
  const char *head =
      "sweep,stage,variables,seeds,top1,top1_sd,top1_half_interval,gain,gain_half_interval,wins,losses,loss\n";
  const cJSON *stage, *point, *variable;
  rt_writer_put(w, head, strlen(head));
  cJSON_ArrayForEach(stage, get(data, "stages")) {
    cJSON_ArrayForEach(point, get(get(stage, "result"), "points")) {
      const char *separator = ",\"";
      put_text(w, get(stage, "stage"));
      rt_writer_put(w, ",", 1);
      put_text(w, get(point, "stage"));
      cJSON_ArrayForEach(variable, get(point, "variables")) {
        char text[512];
        int n = snprintf(text, sizeof text, "%s%s=%s", separator, variable->string, cJSON_GetStringValue(variable));
        for (char *c = text + 2; *c; c++) *c = *c == '"' ? '\'' : *c;
        rt_writer_put(w, text, (size_t)(n < (int)sizeof text ? n : (int)sizeof text - 1));
        separator = " ";
      }
      rt_writer_put(w, *separator == ' ' ? "\"" : ",", 1);
      const cJSON *top1 = get(point, "top1"), *gain = get(point, "gain");
      put_number(w, top1, "n");
      put_number(w, top1, "mean");
      put_number(w, top1, "sd");
      put_number(w, top1, "half_interval");
      put_number(w, gain, "mean");
      put_number(w, gain, "half_interval");
      put_number(w, point, "wins");
      put_number(w, point, "losses");
      put_number(w, get(point, "loss"), "mean");
      rt_writer_put(w, "\n", 1);
    }
  }
}

/* report.html: report.csv, and report_sweeps.csv. */
static rt_status write_csv(const char *page, const char *suffix, void (*put)(rt_writer *, const cJSON *),
                           const cJSON *data) {
  char path[2048];
  rt_writer w;
  size_t n = strlen(page);
  bool html = n > 5 && strcmp(page + n - 5, ".html") == 0;
  if (n + 24 > sizeof path) return rt_fail(RT_E_ARGUMENT, "%s: a shorter name, please", page);
  snprintf(path, sizeof path, "%.*s%s.csv", (int)(html ? n - 5 : n), page, suffix);
  rt_status s = rt_writer_open(&w, path);
  if (s != RT_OK) return s;
  put(&w, data);
  return rt_writer_commit(&w);
}

static bool has_points(const cJSON *data) {
  const cJSON *stage;
  cJSON_ArrayForEach(stage, get(data, "stages")) if (get(get(stage, "result"), "points")) return true;
  return false;
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
  if (s == RT_OK) s = write_csv(path, "", put_rows, data);
  if (s == RT_OK && has_points(data)) s = write_csv(path, "_sweeps", put_points, data);
  cJSON_free(json);
  cJSON_Delete(data);
  return s;
}
