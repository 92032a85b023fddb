"use strict";
// The cells of a report: found, opened and relabelled. Everything comes from files beside the page, as scripts, because a
// page that was opened from disk may read nothing else. Text of cells only ever becomes `textContent`.
(() => {
const byId = id => document.getElementById(id);
const meta = JSON.parse(byId("meta").textContent);
const PER_PAGE = 100;
const RESERVED = [["c", "confirm"], ["n", meta.notACell], ["u", meta.unsure], ["o", meta.other + "…"], ["Backspace", "undo"]];
const LEFT_OUT = { rejected: "Rejected", duplicate: "Duplicates" };
const classOf = new Map(meta.classes.map((entry, index) => [entry.name, { ...entry, index }]));
const colors = Uint8Array.from(atob(meta.colors), letter => letter.charCodeAt(0));
const cells = [], maps = new Map(), loading = new Map();
const filter = { label: "", status: "", reason: "" };
let groups = [], found = [], page = 0, current = null, shownClass = 0;

// ---- files beside the page

window.cartcls = {
  rows: rows => rows.forEach(row => cells.push(Object.fromEntries(meta.fields.map((name, i) => [name, row[i]])))),
  maps: packed => Object.entries(packed).forEach(([seq, text]) =>
    maps.set(Number(seq), Uint8Array.from(atob(text), letter => letter.charCodeAt(0)))),
};

function load(kind, number) {
  const file = `${meta.data}/${kind}-${String(number).padStart(4, "0")}.js`;
  if (!loading.has(file)) {
    loading.set(file, new Promise(resolve => {
      const script = make("script");
      script.src = file;
      script.onload = () => resolve(true);
      script.onerror = () => resolve(false);
      document.body.append(script);
    }));
  }
  return loading.get(file);
}

// ---- small helpers

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

function button(className, text, act) {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

const title = label => classOf.get(label)?.title ?? label ?? "no label";
const colorOf = label => classOf.has(label) ? `k${classOf.get(label).index}` : "";
const saved = cell => cell.corrected ?? cell.label;
const present = cell => corrections.entries.get(cell.seq)?.to ?? saved(cell);
const canBeCorrected = cell => cell.status === "ok" || cell.status === "review";
const awaitsReview = cell => cell.corrected === meta.unsure || (cell.status === "review" && cell.corrected === null);
const confidence = cell => cell.probabilities.length ? Math.max(...cell.probabilities) / 10000 : null;
const decimals = (value, count = 2) => value === null ? "" : value.toFixed(count);
const byConfidence = (a, b) => (confidence(a) ?? 2) - (confidence(b) ?? 2) || a.seq - b.seq;

// ---- corrections: kept in this browser until the report says the same

const corrections = { entries: new Map(), saved: true, key: `cartcls ${meta.report}` };

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(corrections.key) ?? "null");
    const bySeq = new Map(cells.map(cell => [cell.seq, cell]));
    for (const entry of kept?.entries ?? []) {
      const cell = bySeq.get(entry.seq);
      if (cell && cell.sha256 === entry.sha256 && saved(cell) === entry.from && cell.correctedAt === entry.since)
        corrections.entries.set(entry.seq, entry);
    }
    corrections.saved = kept?.saved ?? true;
  } catch { /* a browser that keeps nothing still saves to a file */ }
}

function keep() {
  try {
    if (!corrections.entries.size) localStorage.removeItem(corrections.key);
    else localStorage.setItem(corrections.key, JSON.stringify({ saved: corrections.saved, entries: [...corrections.entries.values()] }));
  } catch { /* as above */ }
  showUnsaved();
}

function relabel(cell, to) {
  if (!canBeCorrected(cell)) return;
  if (to === null || (to === saved(cell) && cell.corrected !== null)) corrections.entries.delete(cell.seq);
  else corrections.entries.set(cell.seq, { seq: cell.seq, sha256: cell.sha256, from: saved(cell), to, since: cell.correctedAt });
  corrections.saved = corrections.entries.size === 0;
  keep();
  drawCard(cell);
}

function csv() {
  const quote = value => /[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
  const rows = [...corrections.entries.values()].sort((a, b) => a.seq - b.seq)
    .map(entry => [meta.report, meta.slide, meta.bundle_sha256, entry.seq, entry.sha256, entry.from, entry.to]);
  return [["report", "slide", "bundle_sha256", "seq", "sha256", "from", "to"], ...rows].map(row => row.map(quote).join(",") + "\n").join("");
}

function save() {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = "corrections.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  corrections.saved = true;
  keep();
}

function discard() {
  const changed = cells.filter(cell => corrections.entries.has(cell.seq));
  corrections.entries.clear();
  corrections.saved = true;
  keep();
  changed.forEach(drawCard);
}

function showUnsaved() {
  const count = corrections.entries.size;
  byId("unsaved").hidden = count === 0;
  const many = `${count} correction${count === 1 ? "" : "s"}`;
  byId("unsaved-text").textContent = corrections.saved
    ? `${many} saved. Now run: cartcls correct OUT corrections.csv --by NAME` : `${many}, not saved yet`;
}

// ---- the gallery

function group(cell) {
  if (LEFT_OUT[cell.status]) return LEFT_OUT[cell.status];
  return awaitsReview(cell) ? "Must be looked at" : saved(cell);
}

function arrange() {
  const kept = cells.filter(cell => (!filter.label || (saved(cell) === filter.label && canBeCorrected(cell)))
    && (!filter.status || STATUSES[filter.status](cell)) && (!filter.reason || cell.reasons.includes(filter.reason)));
  const named = new Map();
  for (const cell of kept) named.has(group(cell)) ? named.get(group(cell)).push(cell) : named.set(group(cell), [cell]);
  const known = ["Must be looked at", ...classOf.keys()], last = Object.values(LEFT_OUT);
  const others = [...named.keys()].filter(name => !known.includes(name) && !last.includes(name)).sort();
  groups = [...known, ...others, ...last].filter(name => named.has(name)).map(name => ({ name, cells: named.get(name).sort(byConfidence) }));
  found = groups.flatMap(entry => entry.cells);
  page = 0;
  drawPage();
}

const STATUSES = {
  "awaits review": awaitsReview,
  ok: cell => cell.status === "ok",
  review: cell => cell.status === "review",
  "looked at by a person": cell => cell.corrected !== null,
  relabelled: cell => cell.corrected !== null && cell.corrected !== cell.label,
  "corrected here": cell => corrections.entries.has(cell.seq),
  rejected: cell => cell.status === "rejected",
  duplicate: cell => cell.status === "duplicate",
};

function drawPage(focus = false) {
  const from = page * PER_PAGE, to = Math.min(from + PER_PAGE, found.length);
  const parts = [];
  let start = 0;
  for (const entry of groups) {
    const here = entry.cells.slice(Math.max(0, from - start), Math.max(0, to - start));
    start += entry.cells.length;
    if (!here.length) continue;
    const heading = make("h3");
    if (classOf.has(entry.name)) heading.append(make("span", `dot ${colorOf(entry.name)}`));
    heading.append(title(entry.name), make("small", "", confidence(entry.cells[0]) === null ? entry.cells.length : `${entry.cells.length}, least certain first`));
    const list = make("ul", "cells");
    list.append(...here.map(cell => { const item = make("li"); item.append(card(cell)); return item; }));
    parts.push(heading, list);
  }
  byId("cells").replaceChildren(...parts);
  byId("shown").textContent = found.length ? `${from + 1}–${to} of ${found.length}` : cells.length ? "No cell is like that." : "There are no images yet.";
  byId("previous").disabled = page === 0;
  byId("next").disabled = to >= found.length;
  byId("pages").hidden = found.length <= PER_PAGE;
  current = found[from] ?? null;
  rove(focus);
}

function halves(cell) {
  const half = make("span", "half"), width = thumbnailWidth(cell);
  half.style.aspectRatio = `${meta.hasMaps ? 2 * width : width} / ${meta.thumbnailHeight}`;
  const picture = make("img");
  picture.loading = "lazy";
  picture.decoding = "async";
  picture.alt = "";
  picture.src = cell.thumbnail;
  half.append(picture);
  return half;
}

function card(cell) {
  const label = present(cell), entry = corrections.entries.get(cell.seq);
  const element = button("cell", "", () => open(cell));
  element.dataset.seq = cell.seq;
  element.tabIndex = -1;
  element.addEventListener("focus", () => { current = cell; rove(false); });
  if (cell.thumbnail) element.append(halves(cell));
  const text = make("span", `text ${colorOf(label)}`);
  text.append(make("span", "chance soft", cell.thumbnail ? decimals(confidence(cell)) : ""), make("b", entry ? "changed" : "", title(label)));
  if (entry) text.append(entry.to === entry.from ? " · confirmed here" : " ", entry.to === entry.from ? "" : make("s", "", title(entry.from)));
  else if (cell.corrected !== null) text.append(cell.corrected === cell.label ? ` · confirmed by ${cell.correctedBy}` : ` · by ${cell.correctedBy}, was ${title(cell.label)}`);
  text.append(make("span", "line", `${cell.seq} · ${cell.path}`));
  if (cell.reason) text.append(make("span", "line", `${cell.status}: ${cell.reason}`));
  element.append(text);
  return element;
}

const cardOf = cell => cell && byId("cells").querySelector(`[data-seq="${cell.seq}"]`);

function drawCard(cell) {
  const old = cardOf(cell);
  if (!old) return;
  const focused = document.activeElement === old;
  old.replaceWith(card(cell));
  if (current === cell) rove(focused);
  if (byId("cell").open && current === cell) drawCell();
}

function rove(focus) {
  byId("cells").querySelectorAll('.cell[tabindex="0"]').forEach(element => { element.tabIndex = -1; });
  const element = cardOf(current);
  if (!element) return;
  element.tabIndex = 0;
  if (focus) element.focus();
}

function turn(step) {
  const next = page + step;
  if (next < 0 || next * PER_PAGE >= found.length) return false;
  page = next;
  drawPage(!byId("cell").open);
  byId("gallery").scrollIntoView();
  return true;
}

function move(step, focus = true) {
  const index = found.indexOf(current) + step;
  if (index < 0 || index >= found.length) return;
  if (Math.floor(index / PER_PAGE) !== page) turn(Math.sign(step));
  current = found[index];
  rove(focus);
}

/** Cells in the row above or below the present one: as far as the nearest whose picture begins in the same column. */
function rowStep(direction) {
  const all = [...byId("cells").querySelectorAll(".cell")], at = all.indexOf(cardOf(current));
  const here = all[at].getBoundingClientRect();
  for (let i = at + direction; i >= 0 && i < all.length; i += direction) {
    const there = all[i].getBoundingClientRect();
    if (Math.abs(there.top - here.top) > 4 && (direction > 0 ? there.left >= here.left - 4 || i === all.length - 1 : there.left <= here.left + 4)) return i - at;
  }
  return 0;
}

// ---- one cell

const thumbnailWidth = cell => Math.min(Math.max(1, Math.round(cell.width * meta.thumbnailHeight / cell.height)), 4 * meta.thumbnailHeight);

function open(cell) {
  current = cell;
  shownClass = Math.max(0, classOf.get(cell.label)?.index ?? 0);
  drawCell();
  if (!byId("cell").open) byId("cell").showModal();
}

function view(element, cell) {
  const width = thumbnailWidth(cell);
  element.style.aspectRatio = `${width} / ${meta.thumbnailHeight}`;
  element.replaceChildren();
  if (!cell.thumbnail) return;
  const picture = make("img");
  picture.src = cell.thumbnail;
  picture.alt = "";
  picture.style.width = meta.hasMaps ? "200%" : "100%";
  element.append(picture);
}

async function drawCell() {
  const cell = current, label = present(cell);
  byId("cell-title").replaceChildren(make("span", `dot ${colorOf(label)}`), `${title(label)} · no. ${cell.seq}`);
  byId("crop").parentElement.hidden = byId("heat").parentElement.hidden = !cell.thumbnail;
  byId("heat").parentElement.hidden ||= !meta.hasMaps;
  if (cell.thumbnail) { view(byId("crop"), cell); view(byId("heat"), cell); }
  drawChances(cell);
  byId("why").textContent = cell.reason ? `${cell.status}: ${cell.reason}` : "";
  byId("relabel").hidden = !canBeCorrected(cell);
  byId("relabel").querySelectorAll("button").forEach(element => element.setAttribute("aria-pressed", element.dataset.label === label));
  const facts = { file: cell.path, model: cell.label ? `${title(cell.label)}, ${decimals(confidence(cell), 4)}` : "no label",
    person: cell.corrected === null ? "not looked at" : `${title(cell.corrected)}, by ${cell.correctedBy}, ${cell.correctedAt}`,
    pixels: cell.width ? `${cell.width} × ${cell.height}` : "", analysed: cell.analysedAt, "SHA-256": cell.sha256 ?? "" };
  byId("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  byId("heat-title").textContent = "";
  if (!cell.thumbnail || !meta.hasMaps) return;
  await load("maps", Math.floor((cell.seq - 1) / meta.mapsInFile));
  if (cell === current) drawHeat(cell);
}

function drawChances(cell) {
  byId("chances-title").hidden = !cell.probabilities.length;
  byId("chances").replaceChildren(...cell.probabilities.map((value, index) => {
    const entry = meta.classes[index];
    const element = button(`k${index}`, "", () => { shownClass = index; drawChances(cell); drawHeat(cell); byId("chances").children[index].focus(); });
    element.setAttribute("role", "radio");
    element.setAttribute("aria-checked", index === shownClass);
    element.tabIndex = index === shownClass ? 0 : -1;
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "svg"), fill = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, size] of [["width", "100%"], ["height", "4"], ["aria-hidden", "true"]]) bar.setAttribute(name, size);
    for (const [name, size] of [["class", "fill"], ["width", `${value / 100}%`], ["height", "4"], ["rx", "2"]]) fill.setAttribute(name, size);
    bar.append(fill);
    element.append(make("span", "dot"), make("span", "", entry.title), make("span", "", decimals(value / 10000, 4)), bar);
    return element;
  }));
}

/** Weights of OpenCV's INTER_CUBIC and the four samples they belong to, for each pixel of a line. */
function cubic(count, size) {
  return Array.from({ length: size }, (_, pixel) => {
    const at = (pixel + 0.5) * count / size - 0.5, first = Math.floor(at), t = at - first, a = -0.75;
    const near = x => ((a + 2) * x - (a + 3)) * x * x + 1, far = x => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    return [far(t + 1), near(t), near(1 - t), far(2 - t)].map((weight, i) => [weight, Math.min(Math.max(first - 1 + i, 0), count - 1)]);
  });
}

/** The map of the chosen class over the crop, in the colours of the thumbnails. */
function drawHeat(cell) {
  const packed = maps.get(cell.seq);
  byId("heat").querySelector("canvas")?.remove();
  if (!packed) { byId("heat-title").textContent = "no heat map is kept"; return; }
  const [count, rows, columns] = packed, start = 3 + count + shownClass * rows * columns;
  const width = thumbnailWidth(cell), height = meta.thumbnailHeight;
  const across = cubic(columns, width), down = cubic(rows, height);
  const lines = Array.from({ length: rows }, (_, row) => across.map(taps => taps.reduce((sum, [weight, i]) => sum + weight * packed[start + row * columns + i], 0)));
  const canvas = make("canvas"), context = canvas.getContext("2d"), image = new ImageData(width, height);
  canvas.width = width;
  canvas.height = height;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    const heat = Math.min(Math.max(down[y].reduce((sum, [weight, i]) => sum + weight * lines[i][x], 0) / 255, 0), 1);
    const at = 4 * (y * width + x), color = 3 * Math.floor(heat * 255);
    image.data.set([colors[color], colors[color + 1], colors[color + 2], 255 * meta.strength * Math.min(2 * heat, 1)], at);
  }
  context.putImageData(image, 0, 0);
  byId("heat").append(canvas);
  const share = Math.round(packed[3 + shownClass] / 2.55);
  byId("heat-title").textContent = share ? `What speaks for ${meta.classes[shownClass].title}; its peak is ${share} % of the strongest class's` : `Nothing speaks for ${meta.classes[shownClass].title}`;
}

// ---- keys and buttons

/** Relabel a cell as a key says, and go on to the next; whether the key means anything. */
function press(key, cell) {
  const entry = meta.classes.find(known => known.key === key);
  const to = { c: saved(cell), n: meta.notACell, u: meta.unsure, Backspace: null, Delete: null };
  if (key === "o") { if (canBeCorrected(cell)) askOther(cell); return true; }
  if (!entry && !(key in to)) return false;
  relabel(cell, entry ? entry.name : to[key]);
  if (to[key] !== null) goOn();
  return true;
}

function goOn() {
  const opened = byId("cell").open;
  move(1, !opened);
  if (opened) open(current);
}

function askOther(cell) {
  const input = byId("other-name");
  input.value = present(cell)?.startsWith(meta.other) ? present(cell).slice(meta.other.length) : "";
  byId("other").showModal();
  byId("other-set").onclick = () => {
    const name = input.value.replace(/\s+/g, " ").trim();
    byId("other").close();
    if (name) { relabel(cell, meta.other + name); goOn(); }
  };
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("other").open) return;
  const opened = byId("cell").open, inGallery = document.activeElement?.classList.contains("cell");
  if (!opened && !inGallery) return;
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  if (event.key in steps) { move(steps[event.key], !opened); if (opened) open(current); }
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const direction = event.key === "ArrowDown" ? 1 : -1, count = meta.classes.length;
    if (!opened) move(rowStep(direction));
    else if (current.probabilities.length) { shownClass = (shownClass + direction + count) % count; drawChances(current); drawHeat(current); byId("chances").children[shownClass].focus(); }
  }
  else if (!opened && (event.key === "Home" || event.key === "End")) { current = event.key === "Home" ? found[page * PER_PAGE] : found[Math.min((page + 1) * PER_PAGE, found.length) - 1]; rove(true); }
  else if (!opened && (event.key === "[" || event.key === "]")) turn(event.key === "]" ? 1 : -1);
  else if (!press(event.key, current)) return;
  event.preventDefault();
}

function choose(name, value) {
  filter[name] = value;
  byId("labels").querySelectorAll("button").forEach(element => element.setAttribute("aria-pressed", element.dataset.label === filter.label));
  for (const other of ["status", "reason"]) byId(other).value = filter[other];
  arrange();
}

function fill(select, counts, any) {
  select.replaceChildren(new Option(any, ""), ...counts.map(([name, count]) => new Option(`${name} (${count})`, name)));
}

function tally(values) {
  const counts = new Map();
  values.forEach(value => counts.set(value, (counts.get(value) ?? 0) + 1));
  return counts;
}

function buildTools() {
  const counts = tally(cells.filter(canBeCorrected).map(saved));
  const known = [...classOf.keys()].filter(name => counts.has(name)), others = [...counts.keys()].filter(name => !classOf.has(name)).sort();
  byId("labels").replaceChildren(...["", ...known, ...others].map(name => {
    const element = button("", "", () => choose("label", name));
    element.dataset.label = name;
    element.setAttribute("aria-pressed", name === filter.label);
    if (name) element.append(make("span", `dot ${colorOf(name)}`));
    element.append(name ? title(name) : "All", make("small", "", name ? counts.get(name) : cells.length));
    return element;
  }));
  fill(byId("status"), Object.entries(STATUSES).map(([name, test]) => [name, cells.filter(test).length]).filter(([name, count]) => count || name === "corrected here").map(([name, count]) => [name, count]), "any");
  fill(byId("reason"), [...tally(cells.flatMap(cell => cell.reasons))].sort((a, b) => b[1] - a[1]), "any");
  const labels = [...meta.classes.map(entry => [entry.key, entry.title, entry.name]), ...RESERVED.map(([key, name]) => [key, name, { n: meta.notACell, u: meta.unsure }[key] ?? ""])];
  for (const [key, name, label] of labels) {
    const element = button("", "", () => (key && press(key, current)) || relabel(current, label)), hint = make("span");
    element.dataset.label = label;
    element.append(make("span", `dot ${colorOf(label)}`), name, make("kbd", "", key));
    byId("relabel").append(element);
    hint.append(make("kbd", "", key), ` ${name}`);
    byId("keys").append(hint);
  }
}

async function start() {
  const whole = await Promise.all(Array.from({ length: meta.files }, (_, number) => load("rows", number)));
  cells.sort((a, b) => a.seq - b.seq);
  restore();
  buildTools();
  byId("tools").hidden = false;
  for (const name of ["status", "reason"]) byId(name).addEventListener("change", event => choose(name, event.target.value));
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  byId("close").addEventListener("click", () => byId("cell").close());
  byId("cell").addEventListener("close", () => rove(true));
  byId("other-cancel").addEventListener("click", () => byId("other").close());
  byId("other-name").addEventListener("keydown", event => { if (event.key === "Enter") byId("other-set").click(); });
  byId("save").addEventListener("click", save);
  byId("discard").addEventListener("click", discard);
  document.addEventListener("keydown", onKey);
  document.querySelectorAll("a[data-label]").forEach(link => link.addEventListener("click", () => choose("label", link.dataset.label)));
  document.querySelectorAll("a[data-reason]").forEach(link => link.addEventListener("click", () => choose("reason", link.dataset.reason)));
  window.addEventListener("beforeunload", event => { if (!corrections.saved) event.preventDefault(); });
  arrange();
  showUnsaved();
  if (whole.includes(false)) byId("shown").textContent += ` · files are missing in ${meta.data}/: copy the whole folder of the report`;
  document.body.dataset.ready = Math.round(performance.now());
}

start();
})();
