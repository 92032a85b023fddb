// The gallery: groups of cells, in pages, and how to move among them.

function group(cell) {
  if (LEFT_OUT[cell.status]) return LEFT_OUT[cell.status];
  return awaitsReview(cell) ? "For review" : saved(cell);
}

const matches = (cell) =>
  (!filter.label || isLabelled(cell, filter.label)) &&
  (filter.status ? STATUSES[filter.status](cell) : isThere(cell) || filter.reason) &&
  (!filter.reason || cell.reasons.includes(filter.reason));

/** Group cells; in a group they stand in the order that they have. */
function groupAll(kept) {
  const named = new Map();
  for (const [name, cell] of kept) named.has(name) ? named.get(name).push(cell) : named.set(name, [cell]);
  const known = ["For review", ...classOf.keys()],
    last = Object.values(LEFT_OUT);
  const others = [...named.keys()].filter((name) => !known.includes(name) && !last.includes(name)).sort();
  groups = [...known, ...others, ...last]
    .filter((name) => named.has(name))
    .map((name) => ({ name, cells: named.get(name) }));
  found = groups.flatMap((entry) => entry.cells);
}

/** Add cells that arrived, each as the last of its group: those that are shown stay where they are. */
function addToGroups(added) {
  const shown = groups.flatMap((entry) => entry.cells.map((cell) => [entry.name, cell]));
  groupAll([...shown, ...added.filter(matches).map((cell) => [group(cell), cell])]);
}

function applyFilter() {
  groupAll(cells.filter(matches).sort(byConfidence).map((cell) => [group(cell), cell]));
  page = 0;
  current = null;
  drawPage();
}

// Which cells a choice of status shows; the status is that of the table.
const STATUSES = {
  ok: (cell) => cell.status === "ok" && cell.corrected === null,
  review: awaitsReview,
  reviewed: (cell) => cell.corrected !== null && !awaitsReview(cell) && canBeCorrected(cell),
  relabelled: (cell) => ![null, meta.unsure, cell.label].includes(cell.corrected) && canBeCorrected(cell),
  "corrected here": (cell) => corrections.entries.has(cell.seq),
  rejected: (cell) => cell.status === "rejected",
  duplicate: (cell) => cell.status === "duplicate",
  empty: (cell) => cell.status === "empty",
  gone: (cell) => cell.status === "gone",
};

function drawPage(focus = false) {
  const from = printing ? 0 : page * PER_PAGE,
    to = printing ? found.length : Math.min(from + PER_PAGE, found.length);
  const parts = [];
  let start = 0;
  for (const entry of groups) {
    const here = entry.cells.slice(Math.max(0, from - start), Math.max(0, to - start));
    start += entry.cells.length;
    if (!here.length) continue;
    const heading = make("h3");
    if (classOf.has(entry.name)) heading.append(make("span", `dot ${colorOf(entry.name)}`));
    heading.append(
      title(entry.name),
      make(
        "small",
        "",
        entry.cells.length === 1 || confidence(entry.cells[0]) === null
          ? entry.cells.length
          : `${entry.cells.length}, least certain first`,
      ),
    );
    const list = make("ul", "cells");
    list.append(
      ...here.map((cell) => {
        const item = make("li");
        item.append(card(cell));
        return item;
      }),
    );
    parts.push(heading, list);
  }
  byId("cells").replaceChildren(...parts);
  byId("shown").textContent = found.length
    ? `${from + 1}–${to} of ${found.length}`
    : cells.length
      ? "No cell matches."
      : "There are no images yet.";
  byId("previous").disabled = page === 0;
  byId("next").disabled = to >= found.length;
  byId("pages").hidden = found.length <= PER_PAGE;
  if (!found.slice(from, to).includes(current)) current = found[from] ?? null;
  rove(focus);
}

/** On paper are all cells that match, and all fields, not only those of a page. */
function showAll(all) {
  printing = all;
  drawPage();
  drawFields();
}

/** The pictures of a cell's thumbnail, without its caption. */
function pictures(cell) {
  const half = make("span", "half"),
    width = thumbnailWidth(cell);
  half.style.aspectRatio = `${meta.panels * width} / ${meta.thumbnailHeight}`;
  const picture = make("img");
  picture.loading = printing ? "eager" : "lazy";
  picture.decoding = printing ? "sync" : "async";
  picture.alt = "";
  picture.src = cell.thumbnail;
  half.append(picture);
  return half;
}

/** What the pictures of a card are; the text above the cells says it to those who cannot see them. */
function names() {
  const line = make("span", "names soft");
  line.setAttribute("aria-hidden", "true");
  line.append(...meta.pictures.map((name) => make("span", "", name)));
  return line;
}

/** Why a cell is not `ok`, without what the top of the page says of every cell. */
function reasonOnCard(cell) {
  const parts = cell.reason.split("; ");
  return parts.filter((part) => !saidOfAll.some((said) => part.startsWith(said))).join("; ");
}

function card(cell) {
  const label = present(cell),
    entry = corrections.entries.get(cell.seq);
  const element = button("cell", "", () => openCell(cell));
  element.dataset.seq = cell.seq;
  element.tabIndex = -1;
  element.addEventListener("focus", () => {
    current = cell;
    rove(false);
  });
  if (cell.thumbnail) element.append(pictures(cell));
  if (cell.thumbnail && meta.hasAttention) element.append(names());
  const text = make("span", `text ${colorOf(label)}`);
  text.append(
    make("span", "chance soft", cell.thumbnail && label === cell.label ? decimals(confidence(cell)) : ""),
    make("b", entry ? "changed" : "", cell.status === "empty" ? "no cell" : title(label)),
  );
  if (entry)
    text.append(
      entry.to === entry.from ? ` · ${HERE}` : " ",
      entry.to === entry.from ? "" : make("s", "", title(entry.from)),
    );
  else if (cell.corrected !== null)
    text.append(
      cell.corrected === cell.label
        ? ` · confirmed by ${cell.correctedBy}`
        : ` · by ${cell.correctedBy}, was ${title(cell.label)} ${decimals(confidence(cell))}`,
    );
  text.append(make("span", "line", `${cell.seq} · ${placeOf(cell)}`));
  const reason = reasonOnCard(cell);
  if (reason) text.append(make("span", "line", `${cell.status}: ${reason}`));
  element.append(text);
  return element;
}

const cardOf = (cell) => cell && byId("cells").querySelector(`[data-seq="${cell.seq}"]`);

function drawCard(cell) {
  const old = cardOf(cell),
    focused = old && document.activeElement === old;
  if (old) old.replaceWith(card(cell));
  if (old && current === cell) rove(focused);
  if (byId("cell").open && current === cell) drawCell();
  drawBoxes(cell);
}

function rove(focus) {
  byId("cells")
    .querySelectorAll('.cell[tabindex="0"]')
    .forEach((element) => {
      element.tabIndex = -1;
    });
  const element = cardOf(current);
  if (!element) return;
  element.tabIndex = 0;
  if (!focus) return;
  element.focus();
  element.scrollIntoView({ block: "nearest" }); // also where it has the focus already
}

function turnPage(step) {
  const next = page + step;
  if (!step || next < 0 || next * PER_PAGE >= found.length) return false;
  page = next;
  current = null;
  drawPage(!byId("cell").open);
  byId("gallery").scrollIntoView();
  return true;
}

/** Whether the middle of the current cell is in view, below the tools that stay at the top. */
function inView() {
  const { top, height } = cardOf(current).getBoundingClientRect(),
    middle = top + height / 2;
  return middle > Math.max(0, byId("tools").getBoundingClientRect().bottom) && middle < innerHeight;
}

function move(step, focus = true) {
  const index = found.indexOf(current) + step;
  if (index < 0 || index >= found.length) return;
  turnPage(Math.floor(index / PER_PAGE) - page);
  current = found[index];
  rove(focus);
}

/** How many cards it is to the one above or below: the nearest in another row that begins in the same column. */
function rowStep(direction, all, element) {
  const at = all.indexOf(element);
  const here = all[at].getBoundingClientRect();
  for (let i = at + direction; i >= 0 && i < all.length; i += direction) {
    const there = all[i].getBoundingClientRect();
    if (
      Math.abs(there.top - here.top) > 4 &&
      (direction > 0 ? there.left >= here.left - 4 || i === all.length - 1 : there.left <= here.left + 4)
    )
      return i - at;
  }
  return 0;
}
