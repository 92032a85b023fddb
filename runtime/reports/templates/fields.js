// The fields of a slide, in pages: where their cells lie. Boxes are in pixels of the file.
const FIELDS_PER_PAGE = 48;
let fieldPage = 0,
  fieldAt = null; // the one that has the focus, or had it last

const many = (count, name) => `${count} ${name}${count === 1 ? "" : "s"}`;

/** Put fields and cells together; a field whose cells are all gone is no longer in the slide. */
function joinFields() {
  const bySeq = new Map(cells.map((cell) => [cell.seq, cell]));
  for (const field of fields) {
    field.cells = field.seqs.map((seq) => bySeq.get(seq)).filter((cell) => cell && isThere(cell));
    for (const cell of field.cells) cell.field = field;
    field.path = field.cells[0]?.path;
  }
  fields.splice(0, fields.length, ...fields.filter((field) => field.cells.length));
  fields.sort((a, b) => a.seqs[0] - b.seqs[0]);
}

function boxClass(cell) {
  if (cell.status === "duplicate") return "box again";
  if (present(cell) === meta.notACell) return "box smudge";
  return ["box", colorOf(present(cell)), stillAwaitsReview(cell) ? "waits" : ""].filter(Boolean).join(" ");
}

/** What a cell is, in words. */
function nameOf(cell) {
  const label = present(cell),
    chance = label === cell.label ? decimals(confidence(cell)) : "",
    decided = cell.corrected !== null || corrections.entries.has(cell.seq);
  const status = canBeCorrected(cell) ? (stillAwaitsReview(cell) ? "review" : decided ? "reviewed" : "ok") : cell.status;
  return [`No. ${cell.seq}`, title(label), chance, status].filter(Boolean).join(", ");
}

/** The same, with why it is not `ok`. */
const nameAndReason = (cell) => (cell.reason ? `${nameOf(cell)}: ${cell.reason}` : nameOf(cell));

function overlay(field) {
  const drawing = svg("svg", {
    viewBox: `0 0 ${field.width} ${field.height}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  const draw = ([x, y, width, height], className, text) => {
    const rect = svg("rect", { class: className, x, y, width, height }),
      said = svg("title", {});
    said.textContent = text;
    rect.append(said);
    drawing.append(rect);
    return rect;
  };
  for (const box of field.smudges) draw(box, "box smudge", "smudge, clump or debris, not counted");
  for (const cell of field.cells.filter((one) => one.box))
    draw(cell.box, boxClass(cell), nameAndReason(cell)).dataset.seq = cell.seq;
  return drawing;
}

/** How many cells a field has, in words. */
function cellsIn(field) {
  const labelled = field.cells.filter(canBeCorrected),
    counted = labelled.filter((cell) => present(cell) !== meta.notACell),
    waiting = counted.filter(stillAwaitsReview).length,
    again = field.cells.filter((cell) => cell.status === "duplicate").length;
  const parts = [
    labelled.length || again ? many(counted.length, "cell") : "no cell",
    waiting ? `${waiting} for review` : "",
    again ? `${again} counted elsewhere` : "",
    labelled.length > counted.length ? `${labelled.length - counted.length} not a cell` : "",
    field.smudges.length ? many(field.smudges.length, "smudge") : "",
  ];
  return parts.filter(Boolean).join(" · ");
}

function picture(field, lazy) {
  const element = make("img");
  element.loading = lazy ? "lazy" : "eager";
  element.decoding = lazy ? "async" : "sync";
  element.alt = "";
  element.draggable = false;
  element.src = field.picture;
  return element;
}

function fieldCard(field) {
  const element = button("field", "", () => openField(field)),
    sheet = make("span", "sheet"),
    text = make("span", "text");
  element.dataset.first = field.seqs[0];
  element.tabIndex = -1;
  element.addEventListener("focus", () => roveFields(field));
  sheet.style.aspectRatio = `${field.width} / ${field.height}`;
  sheet.append(picture(field, !printing), overlay(field));
  text.append(make("b", "", field.path), make("span", "line", cellsIn(field)));
  element.append(sheet, text);
  return element;
}

const cardOfField = (field) => field && byId("field-list").querySelector(`[data-first="${field.seqs[0]}"]`);

/** Draw the fields of the page; on paper, all. */
function drawFields() {
  if (!meta.ofFields) return;
  const from = printing ? 0 : fieldPage * FIELDS_PER_PAGE,
    here = fields.slice(from, printing ? fields.length : from + FIELDS_PER_PAGE);
  byId("field-list").replaceChildren(
    ...here.map((field) => {
      const item = make("li");
      item.append(fieldCard(field));
      return item;
    }),
  );
  byId("fields-shown").textContent = here.length
    ? `${from + 1}–${from + here.length} of ${fields.length}`
    : "There are no fields yet.";
  byId("fields-previous").disabled = fieldPage === 0;
  byId("fields-next").disabled = from + here.length >= fields.length;
  byId("field-pages").hidden = fields.length <= FIELDS_PER_PAGE;
  roveFields(here.includes(fieldAt) ? fieldAt : here[0]);
}

function roveFields(field) {
  const old = cardOfField(fieldAt);
  if (old) old.tabIndex = -1;
  fieldAt = field ?? null;
  const element = cardOfField(fieldAt);
  if (element) element.tabIndex = 0;
}

function focusField(field) {
  if (!field) return;
  const there = Math.floor(fields.indexOf(field) / FIELDS_PER_PAGE);
  if (there !== fieldPage) {
    fieldPage = there;
    drawFields();
  }
  cardOfField(field).focus();
}

function turnFields(step) {
  focusField(fields[(fieldPage + step) * FIELDS_PER_PAGE]);
  byId("fields").scrollIntoView();
}

/** Draw anew what was drawn of a cell in its field. */
function drawBoxes(cell) {
  const element = cardOfField(cell.field);
  if (element) {
    element.querySelector("svg").replaceWith(overlay(cell.field));
    element.querySelector(".line").textContent = cellsIn(cell.field);
  }
  if (!meta.ofFields || !byId("field").open || cell.field !== shownField) return;
  drawBox(cell);
  drawText();
}

/** Keys among the fields, and in an open one; returns whether the key is for them. */
function onFieldKey(event) {
  if (byId("field").open) return onOpenFieldKey(event);
  const active = document.activeElement,
    all = [...byId("field-list").querySelectorAll(".field")],
    at = all.indexOf(active);
  if (!byId("in-fields").contains(active)) return false;
  if (at < 0) return true;
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -at, End: all.length - 1 - at }[event.key];
  const rows = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (step !== undefined) focusField(fields[fields.indexOf(fieldAt) + step]);
  else if (rows) focusField(fields[fields.indexOf(fieldAt) + rowStep(rows, all, active)]);
  else if (event.key === "[" || event.key === "]") turnFields(event.key === "]" ? 1 : -1);
  else return true;
  event.preventDefault();
  return true;
}

function startFields() {
  byId("fields-previous").addEventListener("click", () => turnFields(-1));
  byId("fields-next").addEventListener("click", () => turnFields(1));
  startField();
  drawFields();
}
