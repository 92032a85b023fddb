"use strict";
// The cells of a report: load, find, open and relabel them. Data come from files beside the page, as scripts, because a
// page that was opened from disk may read nothing else. Text from the data is only set as `textContent`.
const byId = (id) => document.getElementById(id);
const meta = JSON.parse(byId("meta").textContent);
const PER_PAGE = 100;
const RESERVED = [
  ["c", "confirm"],
  ["n", meta.notACell],
  ["u", meta.unsure],
  ["o", meta.other + "…"],
  ["Backspace", "undo"],
];
const LEFT_OUT = { rejected: "Rejected", duplicate: "Duplicates", empty: "Fields with no cell", gone: "Gone" };
// In the order that they are shown in; `index` is a class's place in the model's answers, and in `k0`, `k1`, ….
const classOf = new Map(meta.classes.map((entry) => [entry.name, entry]));
const colors = Uint8Array.from(atob(meta.colors), (letter) => letter.charCodeAt(0));
const cells = [],
  fields = [],
  maps = new Map(),
  loading = new Map();
const filter = { label: "", status: "", reason: "" };
let groups = [],
  found = [],
  page = 0,
  printing = false,
  current = null,
  saidOfAll = [],
  shownClass = meta.classes[0];

const cartcls = {
  rows: (rows) => rows.forEach((row) => cells.push(Object.fromEntries(meta.fields.map((name, i) => [name, row[i]])))),
  fields: (rows) =>
    rows.forEach(([picture, width, height, smudges, seqs]) => fields.push({ picture, width, height, smudges, seqs })),
  maps: (packed) =>
    Object.entries(packed).forEach(([seq, text]) =>
      maps.set(
        Number(seq),
        Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)),
      ),
    ),
};

const fileOf = (kind, number) => `${meta.data}/${kind}-${String(number).padStart(4, "0")}.js`;

function load(kind, number) {
  const file = fileOf(kind, number);
  if (!loading.has(file)) {
    loading.set(
      file,
      new Promise((resolve) => {
        const script = make("script");
        script.src = file;
        script.onload = () => resolve(true);
        script.onerror = () => resolve(false);
        document.body.append(script);
      }),
    );
  }
  return loading.get(file);
}

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

function svg(tag, values) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  return element;
}

function button(className, text, act) {
  const element = make("button", className, text);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

const title = (label) => classOf.get(label)?.title ?? label ?? "no label";
const colorOf = (label) => (classOf.has(label) ? `k${classOf.get(label).index}` : "");
const saved = (cell) => cell.corrected ?? cell.label;
const present = (cell) => corrections.entries.get(cell.seq)?.to ?? saved(cell);
const canBeCorrected = (cell) => cell.status === "ok" || cell.status === "review";
const isThere = (cell) => cell.status !== "gone"; // the others are in no count but their own
/** The label that the differential counts a cell under: the model's while a person is unsure. */
const countedAs = (cell) => (cell.corrected === meta.unsure ? cell.label : saved(cell));
const isLabelled = (cell, label) => canBeCorrected(cell) && [saved(cell), countedAs(cell)].includes(label);
const awaitsReview = (cell) =>
  (cell.corrected === meta.unsure && canBeCorrected(cell)) || (cell.status === "review" && cell.corrected === null);
/** Likewise, with what was done to it in this page. */
const stillAwaitsReview = (cell) =>
  corrections.entries.has(cell.seq) ? present(cell) === meta.unsure : awaitsReview(cell);
const placeOf = (cell) => (cell.part === null ? cell.path : `${cell.path}, cell ${cell.part}`);
const confidence = (cell) => (cell.probabilities.length ? Math.max(...cell.probabilities) / 10000 : null);
const decimals = (value, count = 2) => (value === null ? "" : value.toFixed(count));
/** A time in UTC and, where that differs, by this computer's clock. */
function when(utc) {
  const time = new Date(utc),
    text = utc.replace("T", " ").replace("Z", " UTC");
  if (!time.getTimezoneOffset()) return text;
  return `${text} (${time.toLocaleString([], { dateStyle: "medium", timeStyle: "short" })} local time)`;
}
const byConfidence = (a, b) => (confidence(a) ?? 2) - (confidence(b) ?? 2) || a.seq - b.seq;
