/* The report: one page of all that was recorded. Reads records only, runs nothing.
 *
 *   gather.c   records, metrics.jsonl, dark_knowledge.json and its pictures, as one JSON object
 *   page.c     that object, page.html, page.css, page.js and Chart.js in one file; the summary as CSV
 *
 * The page's script makes every text a text node: names come from strangers. */
#ifndef RT_REPORT_REPORT_H
#define RT_REPORT_REPORT_H

#include "base/status.h"
#include "base/strbuf.h"

struct cJSON;

rt_status rt_report_gather(const char *const *directories, int n, const char *baseline, struct cJSON **out);

/* Files that were built in. */
extern const unsigned char rt_page_html[], rt_page_css[], rt_page_js[], rt_chart_js[], rt_chart_licence[];
extern const size_t rt_page_html_size, rt_page_css_size, rt_page_js_size, rt_chart_js_size, rt_chart_licence_size;

#endif
