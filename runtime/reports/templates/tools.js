// Keys, filters, and the start.

const hasMeaning = (key) =>
  meta.classes.some((entry) => entry.key === key) || [...RESERVED.map(([known]) => known), "Delete"].includes(key);

/** Relabel a cell by a key, and go on where none is open; returns whether the key has a meaning. */
function relabelByKey(key, cell) {
  const entry = meta.classes.find((known) => known.key === key);
  const shown = present(cell);
  const to = { c: shown === meta.unsure ? cell.label : shown, n: meta.notACell, u: meta.unsure, Backspace: null, Delete: null };
  if (key === "o") {
    if (canBeCorrected(cell)) askOther(cell);
    return true;
  }
  if (!entry && !(key in to)) return false;
  if (!isKnown(() => relabelByKey(key, cell))) return true;
  relabel(cell, entry ? entry.name : to[key]);
  if (to[key] !== null) goToNext();
  return true;
}

/** Go on in the gallery; an open cell stays, and shows its new label. */
function goToNext() {
  if (!byId("cell").open) move(1);
}

/** Cells among which an open one has neighbours: those of the field that is open beneath it, else those that match. */
const row = () => (meta.ofFields && byId("field").open ? shownField.cells : found);

function openNeighbour(step) {
  const all = row(),
    next = all[all.indexOf(current) + step];
  if (!all.includes(current) || !next) return;
  if (all === found) move(step, false);
  openCell(next);
}

/** The label for a name that was typed: an existing one, or `other: ` and the name. */
function labelFor(name) {
  const known = meta.classes.flatMap((entry) => [
    [entry.title, entry.name],
    [entry.name, entry.name],
  ]);
  known.push([meta.notACell, meta.notACell], [meta.unsure, meta.unsure]);
  return known.findLast(([text]) => text.toLowerCase() === name.toLowerCase())?.[1] ?? meta.other + name;
}

function askOther(cell) {
  const input = byId("other-name");
  input.value = present(cell)?.startsWith(meta.other) ? present(cell).slice(meta.other.length) : "";
  byId("other").showModal();
  byId("other-set").onclick = () => {
    const name = input.value.replace(/\s+/g, " ").trim();
    byId("other").close();
    if (name) {
      relabel(cell, labelFor(name));
      goToNext();
    }
  };
}

/** Keys are for the current cell, wherever the focus is, but where it needs them itself. */
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog.asks[open]")) return;
  if (meta.ofFields && !byId("cell").open && onFieldKey(event)) return;
  if (!current) return;
  const opened = byId("cell").open,
    active = document.activeElement;
  if (opened ? active.id === "comment" : active.matches("select, input, .scroll")) return;
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  if (!opened && !inView() && (event.key.startsWith("Arrow") || hasMeaning(event.key)))
    rove(true); // nothing is done to a cell that is out of sight: the next key is for it
  else if (!opened && event.key === "Enter" && active === document.body) openCell(current);
  else if (event.key in steps) opened ? openNeighbour(steps[event.key]) : move(steps[event.key]);
  else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const direction = event.key === "ArrowDown" ? 1 : -1,
      classes = classesOf(current),
      count = classes.length;
    if (!opened) move(rowStep(direction, [...byId("cells").querySelectorAll(".cell")], cardOf(current)));
    else if (current.probabilities.length)
      showClass(classes[(classes.indexOf(shownClass) + direction + count) % count]);
  } else if (active.classList.contains("cell") && (event.key === "Home" || event.key === "End")) {
    current = event.key === "Home" ? found[page * PER_PAGE] : found[Math.min((page + 1) * PER_PAGE, found.length) - 1];
    rove(true);
  } else if (!opened && (event.key === "[" || event.key === "]")) turnPage(event.key === "]" ? 1 : -1);
  else if (!relabelByKey(event.key, current)) return;
  event.preventDefault();
}

function choose(name, value) {
  filter[name] = value;
  showFilter();
}

/** Show what a link leads to, and nothing else; the first of these cells has the focus, or its own one is opened. */
function follow(link) {
  for (const name of Object.keys(filter)) filter[name] = link.dataset[name] ?? "";
  showFilter();
  byId("gallery").scrollIntoView();
  rove(true);
  const cell = link.dataset.seq && cells.find((known) => known.seq === Number(link.dataset.seq));
  if (cell) openCell(cell);
}

function showFilter() {
  if (meta.live) showBulk();
  byId("labels")
    .querySelectorAll("button")
    .forEach((element) => element.setAttribute("aria-pressed", element.dataset.label === filter.label));
  for (const other of ["status", "reason"]) byId(other).value = filter[other];
  applyFilter();
}

const LONGEST = 44; // letters of a choice: a browser makes the list as wide as its longest one

function fill(select, counts, any) {
  const shorten = (name) => (name.length > LONGEST ? `${name.slice(0, LONGEST - 1).trimEnd()}…` : name);
  const options = counts.map(([name, count]) => new Option(`${shorten(name)} (${count})`, name));
  select.replaceChildren(new Option(any, ""), ...options);
}

/** The choices of status with their counts, of which one changes with each correction. */
function fillStatus() {
  const counts = Object.entries(STATUSES).map(([name, test]) => [name, cells.filter(test).length]);
  fill(
    byId("status"),
    counts.filter(([name, count]) => count || name === "corrected here"),
    "any",
  );
  byId("status").value = filter.status;
}

function tally(values) {
  const counts = new Map();
  values.forEach((value) => counts.set(value, (counts.get(value) ?? 0) + 1));
  return counts;
}

/** The choices of class with their counts, and those of status and reason. */
function fillFilters() {
  const labels = new Set(cells.filter(canBeCorrected).flatMap((cell) => [saved(cell), countedAs(cell)])),
    count = (name) => cells.filter(name ? (cell) => isLabelled(cell, name) : isThere).length;
  const known = [...classOf.keys()].filter((name) => labels.has(name)),
    others = [...labels].filter((name) => !classOf.has(name)).sort();
  byId("labels").replaceChildren(
    ...["", ...known, ...others].map((name) => {
      const element = button("", "", () => choose("label", name));
      element.dataset.label = name;
      element.setAttribute("aria-pressed", name === filter.label);
      if (name) element.append(make("span", `dot ${colorOf(name)}`));
      element.append(name ? title(name) : "All", make("small", "", count(name)));
      return element;
    }),
  );
  fillStatus();
  fill(
    byId("reason"),
    [...tally(cells.flatMap((cell) => cell.reasons))].sort((a, b) => b[1] - a[1]),
    "any",
  );
  byId("reason").value = filter.reason;
}

function buildTools() {
  fillFilters();
  const choices = [
    ...meta.classes.map((entry) => [entry.key, entry.title, entry.name]),
    ...RESERVED.map(([key, name]) => [key, name, { n: meta.notACell, u: meta.unsure }[key] ?? ""]),
  ];
  for (const [key, name, label] of choices) {
    const element = button("", "", () => (key && relabelByKey(key, current)) || relabel(current, label)),
      hint = make("span");
    element.dataset.label = label;
    element.append(make("span", `dot ${colorOf(label)}`), name, make("kbd", "", key));
    byId("relabel").append(element);
    hint.append(make("kbd", "", key), ` ${name}`);
    byId("keys").append(hint);
  }
}

function sortCells() {
  cells.sort((a, b) => a.seq - b.seq);
  const has = (said) => (cell) => cell.reasons.some((reason) => reason.startsWith(said));
  saidOfAll = meta.ofWholeSlides.filter((said) => cells.filter(canBeCorrected).every(has(said)));
}

function showTimes() {
  document.querySelectorAll("time").forEach((element) => (element.textContent = when(element.dateTime)));
}

async function start() {
  const whole = await Promise.all(
    ["rows", ...(meta.ofFields ? ["fields"] : [])].flatMap((kind) =>
      Array.from({ length: meta.files }, (_, number) => load(kind, number)),
    ),
  );
  sortCells();
  if (meta.ofFields) joinFields();
  restore();
  buildTools();
  byId("tools").hidden = false;
  for (const name of ["status", "reason"])
    byId(name).addEventListener("change", (event) => choose(name, event.target.value));
  byId("previous").addEventListener("click", () => turnPage(-1));
  byId("next").addEventListener("click", () => turnPage(1));
  byId("before").addEventListener("click", () => openNeighbour(-1));
  byId("after").addEventListener("click", () => openNeighbour(1));
  byId("close").addEventListener("click", () => byId("cell").close());
  byId("cell").addEventListener("close", () => {
    if (meta.ofFields && byId("field").open) return mark(current);
    if (!cardOf(current)) current = found[page * PER_PAGE] ?? null; // it was opened from elsewhere
    const now = document.activeElement; // the event comes late: a focus that has moved by then stays
    rove(now === document.body || now.classList.contains("cell"));
  });
  if (meta.ofFields) startFields();
  byId("other-cancel").addEventListener("click", () => byId("other").close());
  byId("other-name").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault(); // or it would press what gets the focus when the box closes
    byId("other-set").click();
  });
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-label], a[data-status], a[data-reason]");
    if (!link) return;
    event.preventDefault();
    follow(link);
  });
  showTimes();
  window.addEventListener("beforeprint", () => showAll(true));
  window.addEventListener("afterprint", () => showAll(false));
  applyFilter();
  startCorrections();
  if (whole.includes(false))
    byId("shown").textContent += ` · files are missing in ${meta.data}/: copy the whole folder of the report`;
  document.body.dataset.ready = Math.round(performance.now());
}

start();
