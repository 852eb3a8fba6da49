"use strict";
let {runs, differing, live} = JSON.parse(document.getElementById("data").textContent);
// After Okabe and Ito's colours, which colour-blind people can tell apart.
const COLOURS = {light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#3d7fb8"], dark: ["#56b4e9", "#f0a030", "#3bbf94", "#e8a0c8", "#d6c64a", "#9bb8ff"]};
const dark = matchMedia("(prefers-color-scheme: dark)");
const colourOf = i => COLOURS[dark.matches ? "dark" : "light"][i % 6];
const AXES = {iterations: "iterations", images: "images", seconds: "seconds of training"};
const NAMES = {kl: "KL to the model before", clip_fraction: "share of ratios clipped", ratio_deviation: "mean |ratio − 1|",
  first_ratio_error: "first ratio error", loss: "loss", grad_norm: "gradient norm", learning_rate: "learning rate", skipped_groups: "share of groups without a signal"};
const page = document.getElementById("page");
const shown = new Set(runs.map((_, number) => number));
let axis = "iterations", plots = [];

function add(parent, kind, text, attributes) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  Object.assign(made, attributes);
  parent.append(made);
  return made;
}
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (value, digits = 3) => value === null || value === undefined || Number.isNaN(value) ? "–" : Math.abs(value) >= 1000 ? value.toPrecision(4) : value.toFixed(digits);
const same = value => Math.abs(value) < 0.0005;
const signed = value => (same(value) ? "" : value > 0 ? "+" : "−") + Math.abs(value).toFixed(3);
const time = seconds => seconds >= 3600 ? `${Math.floor(seconds / 3600)} h ${Math.round(seconds % 3600 / 60)} min` : seconds >= 60 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds)} s`;
const overall = (evaluation, name) => evaluation && evaluation.rewards[name] ? evaluation.rewards[name].overall : null;

const numeric = cell => typeof cell === "number" || /^[+−]?\d[\d.]*( ± [\d.]+)?$/.test(cell ?? "");

function table(parent, head, rows) {
  const made = add(add(parent, "div", undefined, {className: "scroll", tabIndex: 0}), "table");
  const first = add(add(made, "thead"), "tr");
  head.forEach((text, i) => add(first, "th", text, {scope: "col", className: numeric((rows[0] || [])[i]) ? "number" : ""}));
  const body = add(made, "tbody");
  for (const row of rows) {
    const line = add(body, "tr", undefined, {className: row.differs ? "differs" : ""});
    for (const cell of row) add(line, "td", typeof cell === "number" ? number(cell) : cell ?? "–", {className: numeric(cell) ? "number" : ""});
  }
  return made;
}

function headline(parent, run) {
  const first = run.evaluations[0], last = run.evaluations.at(-1);
  const done = run.x.iterations.at(-1) || 0;
  const seconds = run.x.seconds.at(-1) || 0;
  add(parent, "p", `${done.toLocaleString("en")} of ${run.iterations.toLocaleString("en")} iterations, ${(run.x.images.at(-1) || 0).toLocaleString("en")} images, ${time(seconds)} of training: ${run.description}`, {className: "quiet"});
  if (!last) { add(parent, "p", "No evaluation yet: held-out prompts are judged at evaluation.every, and at the end."); return; }
  const cards = add(parent, "div", undefined, {className: "cards"});
  for (const name of [...run.trained, ...run.observed, "diversity"]) {
    const now = overall(last, name), before = overall(first, name);
    if (now === null) continue;
    const card = add(cards, "div", undefined, {className: "card"});
    add(card, "p", name + (run.observed.includes(name) ? " (observed)" : ""), {className: "name"});
    const known = last !== first && before !== null;
    add(card, "b", known ? signed(now - before) : number(now), {className: !known || same(now - before) ? "" : now > before ? "up" : "down"});
    add(card, "span", known ? `${number(before)} before, ${number(now)} after ${last.iteration} iterations, on held-out prompts` : "on held-out prompts, before training", {className: "quiet"});
  }
}

// Of one reward on one kind of held-out prompts: with an interval, if mixgrpo eval was asked.
function gain(run, name, kind) {
  const found = run.compared?.[name]?.[kind]?.gain;
  if (found) return signed(found.mean) + (found.count > 1 ? ` ± ${found.half_width.toFixed(3)}` : "");
  const [before, now] = [run.evaluations[0], run.evaluations.at(-1)].map(e => e?.rewards[name]?.[kind]);
  return before === undefined || before === null || now === undefined || now === null ? "–" : signed(now - before);
}

function kinds(parent) {
  const evaluated = runs.filter(run => run.evaluations.length > 1);
  if (!evaluated.length) return;
  add(parent, "h2", "Held-out prompts");
  const [only] = evaluated, several = runs.length > 1;
  const pairs = [...new Set(evaluated.flatMap(run => Object.entries(run.evaluations.at(-1).rewards).flatMap(([name, kinds]) => Object.keys(kinds).map(kind => JSON.stringify([name, kind])))))].map(JSON.parse);
  const ends = ([name, kind]) => several ? [] : [only.evaluations[0].rewards[name]?.[kind], only.evaluations.at(-1).rewards[name]?.[kind]];
  table(parent, ["reward", "prompts", ...(several ? evaluated.map(run => `gain of ${run.name}`) : ["before", "after", "gain"])],
    pairs.map(pair => [...pair, ...ends(pair), ...evaluated.map(run => gain(run, ...pair))]));
  const known = evaluated.some(run => run.compared);
  add(parent, "p", known ? "± is the 95% interval of mixgrpo eval, prompt by prompt from the same noise." : "mixgrpo eval RUN adds 95% intervals.", {className: "quiet"});
}

function movers(parent, run) {
  if (!run.movers.length) return;
  add(parent, "h2", runs.length > 1 ? `Best and worst movers: ${run.name}` : "Best and worst movers");
  table(parent, ["held-out prompt", "before", "after", "change"], run.movers.map(({prompt, before, after}) => [prompt, before, after, signed(after - before)]));
  add(parent, "p", "By the weighted sum of the rewards that were trained on, from the same noise.", {className: "quiet"});
}

function smooth(values) {
  const half = Math.max(1, Math.round(values.length / 40));
  return values.map((_, i) => {
    const near = values.slice(Math.max(0, i - half), i + half + 1).filter(value => value !== null);
    return near.length ? near.reduce((sum, value) => sum + value, 0) / near.length : null;
  });
}

// One table of columns for runs whose points lie elsewhere on the axis.
function joined(series) {
  return uPlot.join(series.map(({x, y}) => [x, ...y]));
}

function chart(parent, title, series, options = {}) {
  const card = add(parent, "div", undefined, {className: "card chart"});
  add(card, "h3", title, {title: options.hint || ""});
  const place = add(card, "div", undefined, {role: "img"});
  place.setAttribute("aria-label", `${title} over ${AXES[axis]}`);
  const lines = series.flatMap(({colour, y, dots}) => y.map((_, i) => ({
    stroke: y.length > 1 && i === 0 && !options.band ? colour + "66" : colour, width: y.length > 1 && i === 0 && !options.band ? 1 : 2,
    points: {show: Boolean(dots), size: 6, fill: colour}, spanGaps: true})));
  const grid = {stroke: css("--line"), width: 1}, text = {stroke: css("--quiet"), font: "12px system-ui, sans-serif", grid, ticks: grid};
  const plot = new uPlot({width: Math.max(220, card.clientWidth - 34), height: 180, padding: [10, 10, 0, 0],
    scales: {x: {time: false}, y: {range: (_, low, high) => low === high ? [low - (Math.abs(low) * 0.1 || 0.1), high + (Math.abs(high) * 0.1 || 0.1)] : [low - (high - low) * 0.06, high + (high - low) * 0.06]}},
    axes: [{...text, space: 60}, {...text, size: 58, values: (_, ticks) => ticks.map(tick => Math.abs(tick) && Math.abs(tick) < 0.001 ? tick.toExponential(0) : String(+tick.toPrecision(6)))}],
    bands: options.band ? series.map((_, i) => ({series: [2 * i + 2, 2 * i + 1], fill: series[i].colour + "33"})) : undefined,
    series: [{}, ...lines], legend: {show: false}, cursor: {y: false}}, joined(series), place);
  plots.push({plot, card});
}

function charts(parent) {
  plots = [];
  parent.replaceChildren();
  const visible = runs.map((run, i) => ({run, colour: colourOf(i)})).filter((_, i) => shown.has(i));
  const names = [...new Set(visible.flatMap(({run}) => Object.keys(run.curves)))];
  const held = [...new Set(visible.flatMap(({run}) => run.evaluations.flatMap(e => Object.keys(e.rewards))))];
  const at = (run, iteration) => iteration === 0 ? 0 : run.x[axis][run.x.iterations.indexOf(iteration)] ?? null;
  for (const name of held) {
    const series = visible.map(({run, colour}) => {
      const points = run.evaluations.filter(e => e.rewards[name] && at(run, e.iteration) !== null);
      return {colour, x: points.map(e => at(run, e.iteration)), y: [points.map(e => e.rewards[name].overall)], dots: true};
    }).filter(({x}) => x.length);
    if (series.length) chart(parent, `held-out: ${name}`, series);
  }
  for (const name of names) {
    const series = visible.filter(({run}) => run.curves[name]).map(({run, colour}) => ({colour, x: run.x[axis], y: [run.curves[name], smooth(run.curves[name])]}));
    chart(parent, NAMES[name] || name.replace("reward: ", "training: "), series, {hint: name});
  }
  const windows = visible.filter(({run}) => run.window.some(Boolean));
  if (windows.length) chart(parent, "window: stochastic steps", windows.map(({run, colour}) => ({colour, x: run.x[axis],
    y: [run.window.map(w => w && w[0]), run.window.map(w => w && w[1] + 1)]})), {band: true});
  if (!parent.children.length) add(parent, "p", "No iteration is done yet.", {className: "quiet"});
}

function controls(parent, redraw) {
  const keys = add(parent, "div", undefined, {className: "keys"});
  const choice = add(keys, "label", "Over ");
  const select = add(choice, "select");
  for (const [value, text] of Object.entries(AXES)) add(select, "option", text, {value});
  select.addEventListener("change", () => { axis = select.value; redraw(); });
  if (runs.length > 1) runs.forEach((run, i) => {
    const label = add(keys, "label");
    const box = add(label, "input", undefined, {type: "checkbox", checked: true});
    add(label, "span", undefined, {className: "swatch"}).style.background = colourOf(i);
    label.append(run.name);
    box.addEventListener("change", () => { box.checked ? shown.add(i) : shown.delete(i); redraw(); });
  });
  add(keys, "span", "thin: as measured; thick: smoothed", {className: "quiet"});
}

function samples(parent, run) {
  if (!run.samples.length) return;
  if (run === runs[0]) add(parent, "h2", "The same prompts from the same noise");
  if (runs.length > 1) { parent = add(parent, "details", undefined, {open: run === runs[0]}); add(parent, "summary", run.name); }
  const picture = document.createElement("img");
  const show = i => { const {iteration, image} = run.samples[i]; picture.src = image; picture.alt = words.textContent = iteration ? `after ${iteration} iterations` : "before training"; };
  const keys = add(parent, "div", undefined, {className: "keys"});
  const last = run.samples.length - 1;
  const slider = add(keys, "input", undefined, {type: "range", min: 0, max: last, value: last, disabled: !last});
  slider.setAttribute("aria-label", `Evaluation of ${run.name}`);
  const words = add(keys, "span", "", {className: "quiet"});
  words.setAttribute("role", "status");
  slider.addEventListener("input", () => show(Number(slider.value)));
  picture.className = "sheet";
  parent.append(picture);
  show(last);
}

function said(parent, run) {
  if (!run.findings.length && !run.failures.length) return;
  add(parent, "h2", runs.length > 1 ? `Advice and failures: ${run.name}` : "Advice and failures");
  const grouped = new Map();
  for (const {iteration, name, text} of run.findings) grouped.set(name, {text, at: [...(grouped.get(name)?.at || []), iteration]});
  const rows = [...grouped].map(([name, {text, at}]) => [name, at.length > 4 ? `${at.length} times, from ${at[0]} to ${at.at(-1)}` : at.join(", "), text]);
  if (rows.length) table(parent, ["finding", "iteration", "the last time"], rows);
  for (const text of run.failures) add(parent, "p", text);
}

function recipes(parent) {
  add(parent, "h2", runs.length > 1 ? "What differs between the recipes" : "Recipe");
  const keys = [...new Set(runs.flatMap(run => Object.keys(run.recipe)))];
  const row = key => Object.assign([key, ...runs.map(run => run.recipe[key] ?? "–")], {differs: runs.length > 1 && differing.includes(key)});
  const head = ["key", ...runs.map(run => run.name)];
  if (runs.length > 1) table(parent, head, differing.map(row));
  const all = add(parent, "details");
  add(all, "summary", `All ${keys.length} keys`);
  table(all, head, keys.map(row));
  const where = add(parent, "details");
  add(where, "summary", "Environment");
  const facts = [...new Set(runs.flatMap(run => Object.keys(run.environment)))];
  table(where, ["", ...runs.map(run => run.name)], facts.map(key => [key, ...runs.map(run => run.environment[key] ?? "–")]));
}

const place = document.createElement("div");
place.className = "charts";
const redraw = () => charts(place);

function render() {
  page.replaceChildren();
  add(page, "h1", runs.map(run => run.name).join(", "));
  if (live) buttons(page);
  runs.forEach(run => { if (runs.length > 1) add(page, "h2", run.name); headline(add(page, "div"), run); });
  add(page, "h2", "Curves");
  controls(page, redraw);
  page.append(place);
  kinds(page);
  runs.forEach(run => movers(page, run));
  runs.forEach(run => samples(page, run));
  runs.forEach(run => said(page, run));
  recipes(page);
  add(page, "h2", "Go on");
  add(page, "pre", runs.flatMap(({path}) => [`mixgrpo eval ${path}`, `mixgrpo export ${path} --checkpoint best`, `mixgrpo resume ${path} iterations=…`]).join("\n"), {tabIndex: 0});
  redraw();
}

// What can be asked of a run that is going on.
function buttons(parent) {
  const keys = add(parent, "div", undefined, {className: "keys"});
  for (const [what, text] of [["evaluate", "Evaluate now"], ["stop", "Stop after this iteration"]]) {
    add(keys, "button", text, {type: "button"}).addEventListener("click", async () => {
      const {asked} = await (await fetch(what, {method: "POST", body: "{}"})).json();
      words.textContent = asked === "stop" ? "Asked to stop. It saves, and can be resumed." : "Asked for an evaluation after this iteration.";
    });
  }
  const words = add(keys, "span", "", {className: "quiet", id: "asked"});
  words.setAttribute("role", "status");
}

// New iterations change the curves and the first line; the page is built again when there is more than that.
async function follow() {
  for (let state = "";;) {
    try {
      const next = await (await fetch(`data?seen=${encodeURIComponent(state)}`)).json();
      const more = ({evaluations, findings, compared}) => JSON.stringify([evaluations.length, findings.length, Boolean(compared)]);
      const same = state && more(next.runs[0]) === more(runs[0]);
      state = next.state;
      ({runs, differing} = next);
      if (!same) { render(); continue; }
      const first = page.querySelector("h1 ~ div:not(.keys)");
      first.replaceChildren();
      headline(first, runs[0]);
      redraw();
    } catch {
      await new Promise(again => setTimeout(again, 2000));
    }
  }
}

render();
if (live) follow();
new ResizeObserver(() => plots.forEach(({plot, card}) => plot.setSize({width: Math.max(220, card.clientWidth - 34), height: 180}))).observe(place);
dark.addEventListener("change", redraw);
