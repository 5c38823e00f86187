"use strict";
/* Draws the page from the JSON in #data. Texts become text nodes, never markup. */
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const colours = dark ? ["#5cc2c9", "#e8a35c", "#a99bea", "#7fc97f", "#ef8a78", "#d3c35c", "#86b3f0", "#d793c4"]
                     : ["#0b6e75", "#c0661a", "#6a54b8", "#3d8a41", "#b3402e", "#8f7d12", "#2c6fbf", "#a14a88"];
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const ink = css("--ink"), soft = css("--soft"), line = css("--line");

const make = (tag, options = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key === "class") node.className = value;
    else if (key === "style") node.style.cssText = value;
    else node[key] = value;
  }
  for (const child of children.flat())
    if (child !== null && child !== undefined) node.append(child instanceof Node ? child : String(child));
  return node;
};
const section = (title, note, ...children) =>
  page.append(make("section", {}, make("h2", {}, title), note ? make("p", {class: "soft"}, note) : null, ...children));

/* ---- numbers ---- */

const fixed = (v, digits) => Number.isFinite(v) ? v.toFixed(digits) : "–";
const percent = v => Number.isFinite(v) ? (100 * v).toFixed(2) + " %" : "–";
const count = v => !Number.isFinite(v) ? "–" : v >= 1e9 ? (v / 1e9).toFixed(2) + " G" : v >= 1e6 ? (v / 1e6).toFixed(2) + " M"
  : v >= 1e4 ? (v / 1e3).toFixed(1) + " k" : String(Math.round(v));
const ms = v => !Number.isFinite(v) ? "–" : v < 10 ? v.toFixed(3) : v < 100 ? v.toFixed(2) : v.toFixed(1);

/* ---- the models ---- */

const stages = data.stages || [];
const models = stages.filter(s => !s.sweep && s.result && s.result.test).map(s => ({
  name: s.stage, kind: s.kind, model: s.result.model, options: s.result.options, parameters: s.result.parameters, macs: s.result.macs,
  bytes: s.result.file_bytes, test: s.result.test, epochs: s.metrics ? s.metrics.epochs : [], steps: s.metrics ? s.metrics.steps || [] : [],
  runs: [], layers: s.result.layers}));
for (const s of stages.filter(s => s.kind === "bench" && s.result))
  for (const m of s.result.models || []) {
    const model = models.find(x => x.name === m.name);
    if (model) model.runs = m.runs;
  }
const base = models.find(m => m.name === data.baseline) || models[0];
const colourOf = new Map(models.map((m, i) => [m.name, colours[i % colours.length]]));

const bitsOf = text => {
  const bits = [];
  for (const c of text || "") for (let k = 3; k >= 0; k--) bits.push(parseInt(c, 16) >> k & 1);
  return bits;
};
/* Two-sided exact binomial test of n discordant pairs, normal where there are many. */
const mcnemar = (wins, losses) => {
  const n = wins + losses, k = Math.min(wins, losses);
  if (n === 0) return 1;
  if (n > 1000) {
    const z = (Math.abs(wins - losses) - 1) / Math.sqrt(n), t = 1 / (1 + 0.3275911 * z / Math.SQRT2);
    const erfc = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-z * z / 2);
    return Math.min(1, erfc);
  }
  let log = -n * Math.LN2, sum = 0;
  for (let i = 0; i <= k; i++) {
    sum += Math.exp(log);
    log += Math.log((n - i) / (i + 1));
  }
  return Math.min(1, 2 * sum);
};
const compare = (m, other) => {
  const a = bitsOf(m.test.right), b = bitsOf(other.test.right);
  if (!a.length || a.length !== b.length) return null;
  let wins = 0, losses = 0;
  a.forEach((bit, i) => { wins += bit && !b[i]; losses += !bit && b[i]; });
  return {wins, losses, p: mcnemar(wins, losses)};
};

/* ---- tables ---- */

const table = (heads, rows, options = {}) => make("div", {class: "scroll"}, make("table", {class: options.class || ""},
  make("thead", {}, make("tr", {}, heads.map(h => make("th", {class: h.text ? "text" : "", title: h.title || ""}, h.name)))),
  make("tbody", {}, rows.map(r => make("tr", {class: r.class || ""}, r.cells.map((c, i) =>
    c instanceof Node ? c : make("td", {class: heads[i].text ? "text" : ""}, c)))))));

const cell = (value, change, good) => make("td", {}, value,
  change ? make("small", {class: good === null ? "" : good ? "good" : "bad"}, change) : null);
const ratio = (a, b) => Number.isFinite(a) && Number.isFinite(b) && b > 0 ? a / b : NaN;

function summary() {
  const batches = [...new Set(models.flatMap(m => m.runs.map(r => r.batch)))].sort((a, b) => a - b);
  const heads = [{name: "model"}, {name: "parameters"}, {name: "MACs"}, {name: "file"}, {name: "top-1"},
    {name: "wins / losses", title: "images right here and wrong in the baseline, and the reverse; McNemar's p"}, {name: "ECE",
     title: "expected calibration error, 15 bins"}];
  for (const b of batches) heads.push({name: `p50 / p99, ms, batch ${b}`}, {name: `images/s, batch ${b}`});
  const rows = models.map(m => {
    const other = m === base ? null : base, pair = other && compare(m, other);
    const cells = [make("td", {}, m.name, make("small", {}, [m.model, m.kind !== "train" ? m.kind : ""].filter(Boolean).join(", "))),
      cell(count(m.parameters), other && ratio(m.parameters, other.parameters) !== 1 ? fixed(ratio(m.parameters, other.parameters), 2) + "×" : "", null),
      cell(count(m.macs), "", null),
      cell(Number.isFinite(m.bytes) ? (m.bytes / 1e6).toFixed(2) + " MB" : "–",
           other && Number.isFinite(ratio(m.bytes, other.bytes)) ? fixed(ratio(m.bytes, other.bytes), 2) + "×" : "", null),
      cell(percent(m.test.top1), other ? (m.test.top1 >= other.test.top1 ? "+" : "−") + fixed(Math.abs(100 * (m.test.top1 - other.test.top1)), 2) : "",
           other && m.test.top1 >= other.test.top1),
      cell(pair ? `${pair.wins} / ${pair.losses}` : "–", pair ? "p " + (pair.p < 0.001 ? "< 0.001" : fixed(pair.p, 3)) : "", null),
      cell(fixed(m.test.ece, 4), "", null)];
    for (const b of batches) {
      const run = m.runs.find(r => r.batch === b), theirs = other && other.runs.find(r => r.batch === b);
      const up = run && theirs ? theirs.p50_ms / run.p50_ms : NaN;
      cells.push(cell(run ? `${ms(run.p50_ms)} / ${ms(run.p99_ms)}` : "–", Number.isFinite(up) ? fixed(up, 2) + "× as fast" : "", up >= 1));
      cells.push(cell(run ? fixed(run.images_per_second, 0) : "–", "", null));
    }
    return {class: m === base ? "base" : "", cells};
  });
  section("Summary", base ? `Small figures compare with ${base.name}. Accuracy is that of ${base.test.images} test images, which chose nothing.` : "",
    table(heads, rows));
}

/* ---- charts ---- */

Chart.defaults.color = soft;
Chart.defaults.borderColor = line;
Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
Chart.defaults.animation = false;
Chart.defaults.maintainAspectRatio = false;
Chart.defaults.plugins.legend.labels.boxWidth = 10;
Chart.defaults.plugins.legend.labels.boxHeight = 10;
const labelsOf = Chart.defaults.plugins.legend.labels.generateLabels;
Chart.defaults.plugins.legend.labels.generateLabels = chart => labelsOf(chart).map(l => ({...l, lineDash: []}));

/* Vertical lines from low to high of points that have them. */
const errorBars = {id: "errorBars", afterDatasetsDraw(chart) {
  chart.data.datasets.forEach((set, i) => {
    const meta = chart.getDatasetMeta(i);
    if (meta.hidden) return;
    meta.data.forEach((point, k) => {
      const v = set.data[k];
      if (!v || !(v.half > 0)) return;
      const scale = chart.scales[meta.yAxisID || "y"], top = scale.getPixelForValue(v.y + v.half), low = scale.getPixelForValue(v.y - v.half);
      const c = chart.ctx, area = chart.chartArea;
      c.save();
      c.beginPath();
      c.rect(area.left, area.top, area.right - area.left, area.bottom - area.top);
      c.clip();
      c.strokeStyle = set.borderColor;
      c.lineWidth = 1.3;
      c.beginPath();
      c.moveTo(point.x, top); c.lineTo(point.x, low);
      c.moveTo(point.x - 4, top); c.lineTo(point.x + 4, top);
      c.moveTo(point.x - 4, low); c.lineTo(point.x + 4, low);
      c.stroke();
      c.restore();
    });
  });
}};
Chart.register(errorBars);

const axis = (text, more = {}) => ({title: {display: true, text, color: soft}, grid: {color: line}, ...more});
const logarithmic = values => ({type: "logarithmic", min: Math.min(...values) / 1.15, max: Math.max(...values) * 1.15});
const drawn = [];
function chart(title, config, note) {
  const canvas = make("canvas", {role: "img", ariaLabel: title});
  const card = make("div", {class: "card"}, make("h3", {}, title), note ? make("p", {class: "soft"}, note) : null, make("div", {class: "chart"}, canvas));
  drawn.push(() => new Chart(canvas, config));
  return card;
}
const series = (label, points, colour, more = {}) => ({label, data: points, borderColor: colour, backgroundColor: colour, borderWidth: 1.8,
  pointRadius: 2.5, tension: 0, ...more});

function trade(title, label, of, note) {
  const there = models.filter(m => Number.isFinite(of(m)));
  if (there.length < 2) return null;
  return chart(title, {type: "scatter", data: {datasets: there.map(m => series(m.name, [{x: of(m), y: 100 * m.test.top1}], colourOf.get(m.name),
      {pointRadius: 6, pointHoverRadius: 8}))},
    options: {scales: {x: axis(label, {type: "logarithmic"}), y: axis("top-1, %")}}}, note);
}

function trades() {
  const at = (m, b) => { const r = m.runs.find(r => r.batch === b); return r ? r.p50_ms : NaN; };
  const batches = [...new Set(models.flatMap(m => m.runs.map(r => r.batch)))].sort((a, b) => a - b);
  const cards = [batches.length ? trade(`Accuracy and latency, batch ${batches[0]}`, "p50, ms", m => at(m, batches[0])) : null,
    trade("Accuracy and file size", "MB", m => m.bytes / 1e6), trade("Accuracy and arithmetic", "multiply-adds an image", m => m.macs)].filter(Boolean);
  if (cards.length) section("What accuracy costs", "", make("div", {class: "grid"}, cards));
}

function curves() {
  const trained = models.filter(m => m.epochs.length);
  if (!trained.length) return;
  const validated = trained.some(m => m.epochs.some(e => e.validation));
  const cards = [validated ? chart("Validation accuracy", {type: "line", data: {datasets: trained.map(m => series(m.name,
      m.epochs.filter(e => e.validation).map(e => ({x: e.epoch + 1, y: 100 * e.validation.top1})), colourOf.get(m.name)))},
    options: {scales: {x: axis("epoch", {type: "linear", ticks: {precision: 0}}), y: axis("top-1, %")}}}) : null,
  chart("Training loss", {type: "line", data: {datasets: trained.map(m => series(m.name, m.epochs.map(e => ({x: e.epoch + 1, y: e.loss})),
      colourOf.get(m.name)))}, options: {scales: {x: axis("epoch", {type: "linear", ticks: {precision: 0}}), y: axis("mean over the epoch")}}})];
  for (const m of trained) {
    const names = [...new Set(m.steps.flatMap(s => Object.keys(s.losses || {})))].filter(n => n.endsWith(".weighted"));
    if (names.length < 2) continue;
    cards.push(chart(`Terms of the loss: ${m.name}`, {type: "line", data: {datasets: names.map((n, i) => series(n.replace(".weighted", ""),
        m.steps.map(s => ({x: s.step, y: (s.losses || {})[n]})), colours[i % colours.length], {pointRadius: 0}))},
      options: {scales: {x: axis("step", {type: "linear"}), y: axis("weighted")}}}));
  }
  const steps = trained.filter(m => m.steps.some(s => Number.isFinite(s.grad_norm)));
  if (steps.length) cards.push(chart("Norm of the gradients", {type: "line", data: {datasets: steps.map(m => series(m.name,
      m.steps.map(s => ({x: s.step, y: s.grad_norm})), colourOf.get(m.name), {pointRadius: 0, borderWidth: 1.2}))},
    options: {scales: {x: axis("step", {type: "linear"}), y: axis("before clipping", {type: "logarithmic"})}}}));
  section("Learning", "", make("div", {class: "grid"}, cards));
}

/* ---- sweeps ---- */

const numeric = v => v !== "" && Number.isFinite(Number(v));

const gain = g => g ? (g.mean < 0 ? "−" : "+") + fixed(100 * Math.abs(g.mean), 2) +
  (g.half_interval !== undefined ? " ± " + fixed(100 * g.half_interval, 2) : "") : "–";

/* A sweep as what is drawn: the variable along x, its values, and the points of one line in a group. */
function layOut(s, points, varies) {
  const alike = points.map(p => p.variables[varies[0]]).filter(v => v !== undefined), key = varies[0], rest = varies.slice(1);
  const values = key ? [...new Set(alike)] : points.map(p => p.stage), numbers = Boolean(key) && values.every(numeric);
  const high = Math.max(...values.map(Number)), low = Math.min(...values.map(Number)), log = numbers && low > 0 && high / low >= 8;
  const lineOf = p => [p.part ?? p.stage, ...rest.filter(k => p.variables[k] !== undefined).map(k => `${k}=${p.variables[k]}`)].join(", ");
  const groups = new Map();
  for (const p of points.filter(p => !key || p.variables[key] !== undefined)) {
    const line = key ? lineOf(p) : s.stage;
    if (!groups.has(line)) groups.set(line, []);
    groups.get(line).push(p);
  }
  const scale = numbers ? {...(log ? logarithmic(values.map(Number)) : {type: "linear"}), ticks: {callback: v => values.map(Number).includes(v) ? v : ""},
    afterBuildTicks: a => { a.ticks = values.map(v => ({value: Number(v)})); }} : {type: "category", labels: values, offset: true};
  return {key, values, numbers, scale, groups, lineOf, xOf: p => !key ? p.stage : numbers ? Number(p.variables[key]) : p.variables[key],
    runs: stages.filter(r => r.sweep === s.stage && r.part && r.metrics && r.variables)};
}

const within = sets => {
  const ends = sets.flatMap(set => set.data.flatMap(v => [v.y - (v.half || 0), v.y + (v.half || 0)])).filter(Number.isFinite);
  return {suggestedMin: Math.min(...ends), suggestedMax: Math.max(...ends)};
};

/* Mean over the points' seeds, with its interval. */
function meanCard(title, label, l, points, of, note) {
  const sets = [...l.groups].map(([line, list], i) => series(line, list.filter(p => of(p)).map(p => ({x: l.xOf(p), y: 100 * of(p).mean,
    half: 100 * (of(p).half_interval || 0)})), colours[i % colours.length], {pointRadius: 4, showLine: Boolean(l.key)})).filter(set => set.data.length);
  for (const p of points.filter(p => l.key && p.variables[l.key] === undefined && of(p)))
    sets.push(series(l.lineOf(p), l.values.map(v => ({x: l.numbers ? Number(v) : v, y: 100 * of(p).mean})), soft, {borderDash: [5, 4], pointRadius: 0}));
  return sets.length ? chart(title, {type: "line", data: {datasets: sets},
    options: {scales: {x: axis(l.key || "", l.scale), y: axis(label, within(sets))}, plugins: {legend: {display: sets.length > 1}}}}, note) : null;
}

/* The models a sweep's stages learn from, by name. */
const teachersOf = s => [...new Set(stages.filter(r => r.sweep === s.stage && r.settings && r.settings.teacher).flatMap(r => r.settings.teacher.split(";")))];

function entropyCard(s) {
  const taught = teachersOf(s).map(name => stages.find(r => r.stage === name)).filter(r => r && r.result && r.result.test.entropy).slice(0, 8);
  return taught.length ? chart(`${s.stage}: entropy of the soft targets`, {type: "line", data: {datasets: taught.map((r, i) => series(r.stage,
    Object.entries(r.result.test.entropy).map(([t, h]) => ({x: Number(t), y: h})).sort((a, b) => a.x - b.x), colours[i % colours.length]))},
    options: {scales: {x: axis("temperature", logarithmic(taught.flatMap(r => Object.keys(r.result.test.entropy).map(Number)))), y: axis("nats, mean over the test images")}}}) : null;
}

/* Means over the seeds of what lines of epochs say. */
function meanCurve(runs, of) {
  const sum = [];
  for (const r of runs)
    for (const e of r.metrics.epochs || []) {
      const v = of(e);
      if (!Number.isFinite(v)) continue;
      sum[e.epoch] = sum[e.epoch] || {n: 0, total: 0};
      sum[e.epoch].n++, sum[e.epoch].total += v;
    }
  return sum.map((v, i) => v && {x: i + 1, y: v.total / v.n}).filter(Boolean);
}

/* Of each line of the sweep: how its validation accuracy went, by the value along x. */
function curveCards(s, l) {
  if (!l.key) return [];
  const lines = [...l.groups.keys()].filter(line => l.runs.some(r => l.lineOf(r) === line && r.settings.teacher)).slice(0, 6);
  return lines.map(line => {
    const sets = l.values.slice(0, 8).map((value, i) => series(`${l.key}=${value}`, meanCurve(l.runs.filter(r => l.lineOf(r) === line && r.variables[l.key] === value),
      e => e.validation ? 100 * e.validation.top1 : NaN), colours[i % colours.length], {pointRadius: 0}));
    return chart(`${line}: learning`, {type: "line", data: {datasets: sets}, options: {scales: {x: axis("epoch", {type: "linear", ticks: {precision: 0}}),
      y: axis("validation top-1, %")}}}, "Means over the seeds.");
  });
}

function normCard(s, l) {
  if (!l.key) return null;
  const mean = runs => {
    const all = runs.flatMap(r => r.metrics.epochs.map(e => e.grad_norm)).filter(Number.isFinite);
    return all.length ? all.reduce((a, b) => a + b, 0) / all.length : NaN;
  };
  const sets = [...l.groups.keys()].map((line, i) => series(line, l.values.map(value => ({x: l.numbers ? Number(value) : value,
    y: mean(l.runs.filter(r => l.lineOf(r) === line && r.variables[l.key] === value))})).filter(v => Number.isFinite(v.y)),
    colours[i % colours.length], {pointRadius: 4})).filter(set => set.data.length);
  return sets.length ? chart(`${s.stage}: norm of the gradients`, {type: "line", data: {datasets: sets},
    options: {scales: {x: axis(l.key, l.scale), y: axis("mean over the run", {type: "logarithmic"})}}}) : null;
}

/* Students beside the teachers that the sweep made for them. */
function capacityCard(s, points) {
  const sets = new Map();
  for (const r of stages.filter(r => r.sweep === s.stage && r.settings && r.settings.teacher)) {
    const teacher = stages.find(t => t.stage === r.settings.teacher && t.sweep === s.stage);
    const is = (p, t) => p.stage === t.part && Object.entries(p.variables).every(([k, v]) => t.variables[k] === v);
    const own = points.find(p => is(p, r)), their = teacher && points.find(p => is(p, teacher));
    if (!own || !their) continue;
    const line = [r.part, ...Object.keys(own.variables).filter(k => !(k in their.variables)).map(k => `${k}=${own.variables[k]}`)].join(", ");
    if (!sets.has(line)) sets.set(line, new Map());
    sets.get(line).set(JSON.stringify(own.variables), {x: 100 * their.top1.mean, y: 100 * own.top1.mean, half: 100 * (own.top1.half_interval || 0)});
  }
  return sets.size ? chart(`${s.stage}: students and their teachers`, {type: "scatter", data: {datasets: [...sets].map(([line, list], i) =>
    series(line, [...list.values()], colours[i % colours.length], {pointRadius: 5}))},
    options: {scales: {x: axis("teacher's top-1, %"), y: axis("student's top-1, %")}}}) : null;
}

function sweepCards(s, points, varies) {
  const l = layOut(s, points, varies), baseline = (s.settings || {}).baseline, seeds = Math.max(...points.map(p => p.top1.n));
  const note = seeds > 1 ? `Means of ${seeds} seeds with 95 % intervals.` : "One seed.";
  const hot = /^(t|temperature)$/i.test(l.key || "");
  return [meanCard(`${s.stage}: test accuracy`, "top-1, %", l, points, p => p.top1, note),
    baseline ? meanCard(`${s.stage}: gain on ${baseline}`, "points, seed by seed", l, points, p => p.gain, note) : null,
    hot ? entropyCard(s) : null, normCard(s, l), capacityCard(s, points), ...curveCards(s, l)].filter(Boolean);
}

function sweepTable(s, points, varies) {
  const baseline = (s.settings || {}).baseline;
  return table([{name: "stage"}, ...varies.map(k => ({name: k})), {name: "parameters"}, {name: "top-1"}, {name: "sd"}, {name: "95 % interval"},
      ...baseline ? [{name: `gain on ${baseline}, seed by seed`}, {name: "wins / losses", title: "images of all seeds, right here and wrong in the baseline, and the reverse"}] : [], {name: "loss"}, {name: "seeds"}], points.map(p => ({cells: [p.stage, ...varies.map(k => p.variables[k] ?? "–"), count(p.parameters),
      percent(p.top1.mean), p.top1.sd !== undefined ? fixed(100 * p.top1.sd, 2) : "–",
      p.top1.half_interval !== undefined ? "± " + fixed(100 * p.top1.half_interval, 2) : "–", ...baseline ? [gain(p.gain), p.gain ? `${p.wins} / ${p.losses}` : "–"] : [], fixed(p.loss.mean, 4), p.top1.n]})));
}

function sweeps() {
  for (const s of stages.filter(s => s.kind === "sweep" && s.result)) {
    const points = s.result.points || [];
    const most = [...points].sort((a, b) => Object.keys(b.variables).length - Object.keys(a.variables).length);
    const varies = [...new Set(most.flatMap(p => Object.keys(p.variables)))].filter(k => new Set(points.map(p => p.variables[k])).size > 1);
    section(`Sweep: ${s.stage}`, "", make("div", {class: "grid"}, sweepCards(s, points, varies)), make("p", {}), sweepTable(s, points, varies));
  }
}

/* ---- dark knowledge ---- */

function bars(names, label, teacher, student) {
  const order = names.map((_, i) => i).sort((a, b) => teacher[b] - teacher[a]).slice(0, 5);
  if (!order.includes(label)) order[4] = label;
  return order.map(i => make("div", {class: i === label ? "bar label" : "bar"}, make("span", {title: names[i]}, names[i]),
    make("span", {}, make("i", {style: `width:${100 * teacher[i]}%`}), make("i", {class: "student", style: `width:${100 * student[i]}%`})),
    make("span", {}, (100 * teacher[i]).toFixed(0) + " %")));
}

function gallery(stage) {
  const d = stage.dark_knowledge, select = make("select", {ariaLabel: "temperature"}, d.temperatures.map((t, i) => make("option", {value: i}, `T = ${t}`)));
  const holder = make("div", {class: "gallery"});
  const draw = () => {
    const k = Number(select.value);
    holder.replaceChildren(...d.images.map(im => make("div", {class: "card"}, make("div", {class: "top"},
      make("img", {src: im.image, alt: d.classes[im.label] || ""}), make("div", {}, make("strong", {}, d.classes[im.label] || im.label),
      make("div", {class: "soft"}, {unsure: "the teacher is right, and least sure", disagree: "student and teacher disagree most",
        sure: "the teacher is surest"}[im.chosen] || ""))), bars(d.classes, im.label, im.teacher[k], im.student[k]))));
  };
  select.value = String(Math.min(2, d.temperatures.length - 1));
  select.addEventListener("change", draw);
  draw();
  section(`Dark knowledge: ${stage.stage}`, "The teacher's soft targets (upper bars) and the student's outputs (lower bars), for its five likeliest classes.",
    make("p", {}, select), holder);
}

/* ---- confusion, layers, recipe ---- */

function confusion() {
  const shown = models.filter(m => m.test.confusion && m.test.confusion.length <= 20);
  if (!shown.length) return;
  const holder = make("div");
  const select = make("select", {ariaLabel: "model"}, shown.map((m, i) => make("option", {value: i}, m.name)));
  const draw = () => {
    const m = shown[Number(select.value)], names = (m.test.classes || []).map(c => c.name);
    const most = Math.max(1, ...m.test.confusion.flatMap((r, i) => r.filter((_, k) => k !== i)));
    const rows = m.test.confusion.map((r, i) => make("tr", {}, make("th", {}, names[i] ?? i), r.map((v, k) => {
      const share = i === k ? 0 : v / most;
      return make("td", {style: i === k ? "font-weight:650" : `background:color-mix(in srgb, ${css("--bad")} ${Math.round(70 * share)}%, transparent)`,
        title: `${names[i] ?? i} taken for ${names[k] ?? k}`}, v || "·");
    })));
    holder.replaceChildren(make("div", {class: "scroll"}, make("table", {class: "matrix"}, make("tbody", {},
      make("tr", {}, make("th"), names.map(n => make("th", {title: n}, n.slice(0, 9)))), rows))));
  };
  select.addEventListener("change", draw);
  draw();
  section("Confusion", "Rows are the true classes, columns what the model said.", make("p", {}, select), holder);
}

const layerColumns = [["node", "layer"], ["op", "op"], ["precision", "computes in"], ["why", "why not int8"], ["weights", "weights"],
  ["scale", "scale"], ["zero_point", "zero point"], ["low", "from"], ["high", "to"], ["observer", "observer"],
  ["weight_sqnr", "SQNR of weights, dB"], ["output_sqnr", "SQNR of its output, dB"], ["alone_sqnr", "SQNR of logits, alone in int8, dB"],
  ["float_ms", "float, ms"], ["int8_ms", "int8, ms"]];

function layers() {
  for (const m of models.filter(m => Array.isArray(m.layers) && m.layers.length)) {
    const columns = layerColumns.filter(([k]) => m.layers.some(l => l[k] !== undefined)), words = k => m.layers.some(l => typeof l[k] === "string");
    const show = v => typeof v === "number" ? (Number.isInteger(v) ? v : v.toPrecision(4)) : v ?? "–";
    section(`Layers: ${m.name}`, m.layers.some(l => l.alone_sqnr !== undefined) ? "The lower the SQNR of the logits with one layer alone in int8, the more that layer costs." : "",
      table(columns.map(([k, name], i) => ({name, text: i > 0 && words(k)})), m.layers.map(l => ({cells: columns.map(([k]) => show(l[k]))}))));
  }
}

/* ---- any two models ---- */

function pairs() {
  const all = stages.filter(s => s.result && s.result.test && s.result.test.right).map(s => ({name: s.stage, test: s.result.test}));
  if (all.length < 3) return;
  const pick = (label, at) => {
    const select = make("select", {ariaLabel: label}, all.map((m, i) => make("option", {value: i}, m.name)));
    select.value = String(at);
    return select;
  };
  const one = pick("first model", 0), two = pick("second model", 1), said = make("p", {});
  const draw = () => {
    const a = all[Number(one.value)], b = all[Number(two.value)], c = compare(a, b);
    said.textContent = c ? `${a.name}: ${percent(a.test.top1)}, ${b.name}: ${percent(b.test.top1)}. Right in the first only: ${c.wins} images, in the second only: ${c.losses}; ` +
      `McNemar's p ${c.p < 0.001 ? "< 0.001" : fixed(c.p, 3)}.` : "They saw other test images.";
  };
  one.addEventListener("change", draw);
  two.addEventListener("change", draw);
  draw();
  section("Any two models", "", make("p", {class: "pair"}, one, two), said);
}

function recipe() {
  const run = data.run || {};
  const facts = [run.cpu, run.isa, run.threads ? `${run.threads} threads` : "", run.backend, run.retort ? `retort ${run.retort}` : ""].filter(Boolean);
  page.prepend(make("header", {}, make("h1", {}, run.recipe || models.map(m => m.name).join(", ") || "report"), make("p", {class: "soft"}, facts.join(" · "))));
  document.title = run.recipe ? `${run.recipe} – retort report` : "retort report";
  if (data.recipe) section("Recipe", "", make("pre", {}, data.recipe));
}

if (models.length) { summary(); trades(); curves(); }
sweeps();
stages.filter(s => s.dark_knowledge && s.dark_knowledge.images.length).forEach(gallery);
confusion();
layers();
pairs();
recipe();
drawn.forEach(draw => draw());
document.documentElement.dataset.charts = String(drawn.length);
})();
