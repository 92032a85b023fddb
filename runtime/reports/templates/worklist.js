"use strict";
// The list of all slides: search, filter, keys; it follows what happens on them.
const byId = (id) => document.getElementById(id);
const ASK_EVERY = 2000; // ms
let isOld = false; // since the station did not answer
const shown = () => [...byId("lines").rows].filter((row) => !row.hidden);

function filter() {
  const text = byId("search").value.trim().toLowerCase(),
    state = byId("state").value;
  for (const row of byId("lines").rows)
    row.hidden =
      !row.dataset.name.toLowerCase().includes(text) || (state !== "" && !isIn(row.dataset.states, state));
  const count = shown().length,
    all = byId("lines").rows.length;
  byId("count").textContent = count === all ? `${all} slide${all === 1 ? "" : "s"}` : `${count} of ${all} slides`;
}

const isIn = (states, state) => states === state || states.startsWith(`${state} `) || states.endsWith(` ${state}`) || states.includes(` ${state} `);

/** Move to the line so many further on; the first one where none has the focus. */
function move(step) {
  const rows = shown(),
    at = rows.indexOf(document.activeElement.closest("tr"));
  rows[at < 0 ? 0 : Math.min(Math.max(at + step, 0), rows.length - 1)]?.querySelector("a").focus();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select")) return;
  const steps = { ArrowDown: 1, ArrowUp: -1 };
  if (event.key in steps) move(steps[event.key]);
  else if (event.key === "Escape") {
    byId("search").value = byId("state").value = "";
    filter();
  } else if (event.key === "/" && !event.target.matches("input")) byId("search").focus();
  else if (event.key === "Enter" && event.target.matches("input")) shown()[0]?.querySelector("a").click();
  else return;
  event.preventDefault();
}

/** Put in what has changed; the line that has the focus keeps it. After the station was away, all is put in anew. */
async function follow() {
  try {
    const revision = await (await ask("/revision")).text();
    if (revision === byId("lines").dataset.revision && !isOld) return;
    await takePage();
    isOld = false;
  } catch (error) {
    isOld = true;
    showWhyOld(error);
  }
}

async function takePage() {
  const page = new DOMParser().parseFromString(await (await ask("/")).text(), "text/html"),
    focused = document.activeElement.closest("tr")?.dataset.name;
  for (const id of ["lines", "banners"]) byId(id).replaceWith(page.getElementById(id));
  filter();
  [...byId("lines").rows].find((row) => row.dataset.name === focused)?.querySelector("a").focus({ preventScroll: true });
}

async function start() {
  for (const [id, kind] of [["search", "input"], ["state", "change"]]) byId(id).addEventListener(kind, filter);
  document.addEventListener("keydown", onKey);
  filter();
  document.body.dataset.ready = "1";
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 4 * ASK_EVERY : ASK_EVERY));
    await follow();
  }
}

start();
