"""The page of retort report in a browser: no error, nothing fetched, every chart drawn, light and dark, wide and narrow."""
import csv
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))
from command import check, finish, run

TMP = pathlib.Path(tempfile.mkdtemp())
RECIPE = """name: page
data: {name: synthetic, options: {images: 300, test_images: 60, shape: [1, 8, 8]}, batch: 50, augment: none}
defaults: {epochs: 2, lr: 0.05, threads: 1, precision: fp32, log_steps: 1}
stages:
  - train: {as: teacher, model: {mlp: {hidden: [32, 16]}}}
  - train: {as: student, model: {resnet8: {width: 4}}}
  - distill: {as: student_kd, model: {resnet8: {width: 4}}, teachers: [teacher], losses: [{cross_entropy: {weight: 0.3}}, {kd: {weight: 0.7, temperature: 4}}]}
  - quantize: {as: student_int8, from: student_kd, method: static, images: 50, analyze: true, analyze_images: 20}
  - sweep: {as: temperature, over: {T: [0.5, 1, 8], t2: [true, false]}, seeds: [0, 1], baseline: alone, stages: [
      train: {as: alone, model: {mlp: {hidden: 4}}},
      distill: {as: taught, model: {mlp: {hidden: 4}}, teachers: [teacher], losses: [{cross_entropy: {weight: 0.1}}, {kd: {temperature: $T, t2: $t2}}]}]}
  - sweep: {as: teacher-size, over: {hidden: ["8,4", "16"]}, seeds: [0, 1], baseline: alone, stages: [
      train: {as: alone, model: {mlp: {hidden: 4}}},
      train: {as: mlp_teacher, model: "mlp:hidden=$hidden"},
      distill: {as: taught, model: {mlp: {hidden: 4}}, teachers: [mlp_teacher]}]}
  - sweep: {as: kinds, seeds: [0, 1], baseline: alone, stages: [
      train: {as: alone, model: {mlp: {hidden: 4}}},
      distill: {as: response, model: {mlp: {hidden: 4}}, teachers: [teacher]},
      distill: {as: logits, model: {mlp: {hidden: 4}}, teachers: [teacher], losses: [mse_logits]}]}
  - bench: {models: all, batch: [1, 4], seconds: 0}
  - report: {baseline: student}
"""
CHARTS = ["Accuracy and latency, batch 1", "Accuracy and file size", "Accuracy and arithmetic", "Validation accuracy", "Training loss",
          "Terms of the loss: student_kd", "Norm of the gradients",
          "temperature: test accuracy", "temperature: gain on alone", "temperature: entropy of the soft targets", "temperature: norm of the gradients",
          "taught, t2=true: learning", "taught, t2=false: learning",
          "teacher-size: test accuracy", "teacher-size: gain on alone", "teacher-size: norm of the gradients",
          "teacher-size: students and their teachers", "taught: learning", "kinds: test accuracy", "kinds: gain on alone"]
SECTIONS = ["Summary", "What accuracy costs", "Learning", "Sweep: temperature", "Sweep: teacher-size", "Sweep: kinds", "Dark knowledge: student_kd",
            "Confusion", "Layers: student_int8", "Any two models", "Recipe"]

(TMP / "recipe.yaml").write_text(RECIPE)
done = run("run", TMP / "recipe.yaml", "--out", TMP / "out", "--quiet")
check(done.returncode == 0, f"the recipe runs: {done.stderr[-500:]}")
page = (TMP / "out/report.html").read_text()

# What is in it: the licence of what it carries, no address that is fetched, and the same as tables.
check("Permission is hereby granted, free of charge" in page and "THE SOFTWARE IS PROVIDED" in page, "Chart.js comes with its licence")
check(not re.search(r"""(?:src|href)=["']?(?!data:)[a-z]+:|@import|url\((?!data:)""", page.split("<script>")[0]), "the page names nothing to fetch")
table = list(csv.reader(open(TMP / "out/report.csv")))
check(",".join(table[0]).endswith("p50_ms_batch_1,p99_ms_batch_1,images_per_second_batch_1,p50_ms_batch_4,p99_ms_batch_4,images_per_second_batch_4"), f"CSV: {table[0]}")
check(all(len(line) == len(table[0]) for line in table), "every line of the CSV has its columns")
points = list(csv.reader(open(TMP / "out/report_sweeps.csv")))
check(len(points) == 1 + 7 + 5 + 3 and all(len(line) == 12 for line in points), f"a line a point: {len(points)}")
kinds = json.loads((TMP / "out/records/kinds.json").read_text())["result"]["points"]
own, alone = (json.loads((TMP / f"out/records/{name}.json").read_text())["result"]["test"]
              for name in ("kinds.response.seed=0", "temperature.alone.seed=0"))
both = zip(own["right"], alone["right"])
wins = sum(bin(int(a, 16) & ~int(b, 16) & 15).count("1") for a, b in both)
check(kinds[1]["wins"] - kinds[1]["losses"] == round(60 * 2 * kinds[1]["gain"]["mean"]) and kinds[1]["wins"] >= wins, f"wins and losses: {kinds[1]}")
check(not (TMP / "out/kinds.alone.seed=0.pth").exists() and kinds[0]["top1"]["n"] == 2, "what an earlier sweep made isn't made again")

PROBE_FIRST = """<script>
const wrong = [];
addEventListener("error", e => wrong.push(e.message || "a file that isn't there"), true);
addEventListener("unhandledrejection", e => wrong.push(String(e.reason)));
for (const kind of ["error", "warn"]) console[kind] = (...what) => wrong.push(what.join(" "));
for (const name of ["fetch", "XMLHttpRequest", "WebSocket", "EventSource"]) window[name] = function () { wrong.push(name); };
</script>"""
# A chart is drawn where pixels have colour: axes and their texts are grey.
PROBE_LAST = """<script>
const drawn = c => {
  const p = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  let n = 0;
  for (let i = 0; i < p.length; i += 4) n += p[i + 3] > 200 && Math.max(p[i], p[i + 1], p[i + 2]) - Math.min(p[i], p[i + 1], p[i + 2]) > 40;
  return n > 12;
};
const result = {
  charts: [...document.querySelectorAll("canvas")].map(c => [c.getAttribute("aria-label"), drawn(c)]),
  sections: [...document.querySelectorAll("h2")].map(h => h.textContent),
  wide: [...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre") && e.getBoundingClientRect().right > innerWidth + 1).length,
  pictures: [...document.images].every(i => i.complete && i.naturalWidth > 0),
  outside: performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).map(r => r.name),
  width: innerWidth, back: getComputedStyle(document.body).backgroundColor, wrong};
document.body.textContent = "RESULT" + JSON.stringify(result) + "END";
</script></body>"""


def look(browser, size, dark):
    probe = page.replace("<head>", "<head>" + PROBE_FIRST, 1)
    at = probe.rindex("</body>")
    (TMP / "probe.html").write_text(probe[:at] + PROBE_LAST + probe[at + len("</body>"):])
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={TMP}/profile", "--hide-scrollbars",
               f"--window-size={size}", "--virtual-time-budget=4000", f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom",
               f"file://{TMP}/frame.html" if size.startswith("390") else f"file://{TMP}/probe.html"]
    # Windows are at least 500 wide: a frame can be narrower.
    (TMP / "frame.html").write_text("""<body style="margin:0"><iframe src="probe.html" style="width:390px;height:2000px;border:0"></iframe>
      <script>onload = () => document.body.textContent = document.querySelector("iframe").contentDocument.body.textContent</script></body>""")
    if size.startswith("390"):
        command.insert(1, "--allow-file-access-from-files")
    seen = subprocess.run(command, capture_output=True, text=True, timeout=200)
    found = re.search(r"RESULT(.*)END", seen.stdout, re.S)
    check(found, f"{size}: the browser shows the page: {seen.stdout[-300:]} {seen.stderr[-300:]}")
    return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")) if found else None


browser = shutil.which("chromium")
if not browser:
    print("no chromium here: the page isn't looked at (scripts/setup --for test)")
for size, dark in (("1200,900", False), ("1200,900", True), ("390,800", False)) if browser else ():
    what = f"{size}{', dark' if dark else ''}: "
    r = look(browser, size, dark)
    if not r:
        continue
    check(r["wrong"] == [], what + f"no error: {r['wrong']}")
    check(r["outside"] == [], what + f"nothing is fetched: {r['outside']}")
    check([name for name, _ in r["charts"]] == CHARTS, what + f"charts: {[name for name, _ in r['charts']]}")
    check(all(ok for _, ok in r["charts"]), what + f"blank charts: {[name for name, ok in r['charts'] if not ok]}")
    check(r["sections"] == SECTIONS, what + f"sections: {r['sections']}")
    check(r["wide"] == 0 and r["pictures"], what + f"{r['wide']} things are wider than the page; pictures: {r['pictures']}")
    check(r["width"] == int(size.split(",")[0]), what + f"width {r['width']}")
    dark_back = sum(map(int, re.findall(r"\d+", r["back"])[:3])) < 300
    check(dark_back == dark, what + f"background {r['back']}")

shutil.rmtree(TMP)
sys.exit(finish())
