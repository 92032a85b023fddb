// One field, opened: its cells can be opened, and the picture zoomed and moved.
const STEP = 1.5; // of the zoom
const PAN = 90; // pixels of a key
let shownField = null,
  zoom = 1, // 1 where the whole field is seen
  cellBefore = null, // the gallery's, before the field was opened
  fromCell = false,
  dragged = false;
const pointers = new Map();

/** Open a field, or turn an open one to another; a cell of it is marked. */
function openField(field, cell = null) {
  if (!byId("field").open) {
    cellBefore = current;
    fromCell = cell !== null;
    byId("field").showModal();
  }
  shownField = field;
  const at = fields.indexOf(field);
  byId("field-title").textContent = field.path;
  byId("field-before").disabled = at <= 0;
  byId("field-after").disabled = at === fields.length - 1;
  const smudges = field.smudges.map((box) => {
    const element = make("span", "box smudge");
    element.title = "smudge, clump or debris, not counted";
    return placed(element, box);
  });
  const found = field.cells.filter((one) => one.box).map((one) => placed(boxOf(one), one.box));
  byId("sheet").replaceChildren(picture(field, false), ...smudges, ...found);
  field.cells.forEach(drawBox);
  drawText();
  setZoom(1);
  if (cell?.box) mark(cell);
  else byId("field-view").focus({ preventScroll: true });
}

function boxOf(cell) {
  const element = button("", "", () => openCell(cell));
  element.dataset.seq = cell.seq;
  element.append(make("span", "number", cell.seq));
  return element;
}

/** Put an element where a box lies in the shown field. */
function placed(element, [x, y, width, height]) {
  const { width: across, height: down } = shownField;
  element.style.left = `${(100 * x) / across}%`;
  element.style.top = `${(100 * y) / down}%`;
  element.style.width = `${(100 * width) / across}%`;
  element.style.height = `${(100 * height) / down}%`;
  element.classList.toggle("at-top", y < 0.06 * down);
  return element;
}

const shownBox = (cell) => byId("sheet").querySelector(`[data-seq="${cell.seq}"]`);

function drawText() {
  const { width, height } = shownField,
    place = `field ${fields.indexOf(shownField) + 1} of ${fields.length}`;
  byId("field-text").textContent = `${place} · ${cellsIn(shownField)} · ${width} × ${height} pixels`;
}

function drawBox(cell) {
  const element = shownBox(cell);
  if (!element) return;
  const flags = ["marked", "at-top"].filter((name) => element.classList.contains(name));
  element.className = [boxClass(cell), ...flags].join(" ");
  element.setAttribute("aria-label", nameOf(cell));
  element.title = nameAndReason(cell);
  element.firstChild.dataset.label = title(present(cell));
}

/** Show where a cell of the shown field lies, and give it the focus. */
function mark(cell) {
  const element = shownBox(cell),
    least = 48;
  byId("sheet")
    .querySelectorAll(".marked")
    .forEach((other) => other.classList.remove("marked"));
  if (!element) return;
  element.classList.add("marked");
  const size = Math.max(element.offsetWidth, element.offsetHeight);
  if (size < least) setZoom((zoom * least) / Math.max(size, 1));
  element.scrollIntoView({ block: "center", inline: "center" });
  element.focus({ preventScroll: true });
}

/** Screen pixels of a pixel of the file, where the whole field is seen. */
function fit() {
  const view = byId("field-view");
  return Math.min((view.offsetWidth - 2) / shownField.width, (view.offsetHeight - 2) / shownField.height);
}

/** Zoom around a point of the screen, which stays where it is: the middle, where none is given. */
function setZoom(wanted, x = null, y = null) {
  const view = byId("field-view").getBoundingClientRect(),
    sheet = byId("sheet"),
    least = fit();
  const across = x ?? view.left + view.width / 2,
    down = y ?? view.top + view.height / 2,
    before = sheet.getBoundingClientRect();
  zoom = Math.min(Math.max(wanted, 1), Math.max(4, 4 / least));
  sheet.style.width = `${Math.floor(shownField.width * least * zoom)}px`;
  sheet.style.height = `${Math.floor(shownField.height * least * zoom)}px`;
  const after = sheet.getBoundingClientRect();
  if (before.width)
    byId("field-view").scrollBy(
      after.left + ((across - before.left) / before.width) * after.width - across,
      after.top + ((down - before.top) / before.height) * after.height - down,
    );
  byId("field-view").classList.toggle("zoomed", zoom > 1);
  byId("zoom-out").disabled = byId("zoom-fit").disabled = zoom === 1;
}

/** Zoom by a button or key: a marked cell that is in view moves to the middle. */
function zoomBy(factor) {
  const view = byId("field-view").getBoundingClientRect(),
    marked = byId("sheet").querySelector(".marked"),
    box = marked?.getBoundingClientRect();
  const inView = box && box.right > view.left && box.left < view.right && box.bottom > view.top && box.top < view.bottom;
  setZoom(zoom * factor);
  if (inView) marked.scrollIntoView({ block: "center", inline: "center" });
}

function openNextField(step) {
  const next = fields[fields.indexOf(shownField) + step];
  if (next) openField(next);
}

function onOpenFieldKey(event) {
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (event.key === "+" || event.key === "=") zoomBy(STEP);
  else if (event.key === "-") zoomBy(1 / STEP);
  else if (event.key === "0") setZoom(1);
  else if (event.key === "[" || event.key === "]") openNextField(event.key === "]" ? 1 : -1);
  else if ((x || y) && zoom > 1) byId("field-view").scrollBy(PAN * x, PAN * y);
  else if (x) openNextField(x);
  else return true;
  event.preventDefault();
  return true;
}

/** Move the picture with a pointer; what is less than a pixel of the screen is left for its next move. */
function drag({ pointerId, clientX, clientY }, x, y) {
  const view = byId("field-view"),
    { scrollLeft, scrollTop } = view;
  view.scrollBy(-x, -y);
  pointers.set(pointerId, {
    pointerId,
    clientX: clientX + scrollLeft - view.scrollLeft,
    clientY: clientY + scrollTop - view.scrollTop,
  });
}

/** One pointer moves the picture; two zoom it, each around the other. */
function onPointerMove(event) {
  const before = pointers.get(event.pointerId),
    other = [...pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
  if (!before) return;
  if (!event.buttons) return pointers.delete(event.pointerId); // it was let go outside of the window
  const x = event.clientX - before.clientX,
    y = event.clientY - before.clientY;
  if (!dragged && Math.hypot(x, y) < 5) return; // a click
  dragged = true;
  byId("field-view").setPointerCapture(event.pointerId);
  if (!other) return drag(before, x, y);
  pointers.set(event.pointerId, event);
  const far = (pointer) => Math.max(1, Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY));
  setZoom((zoom * far(event)) / far(before), other.clientX, other.clientY);
}

function startPointers(view) {
  view.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (!pointers.size) dragged = false;
    pointers.set(event.pointerId, event);
  });
  view.addEventListener("pointermove", onPointerMove);
  for (const name of ["pointerup", "pointercancel"])
    window.addEventListener(name, (event) => pointers.delete(event.pointerId));
  view.addEventListener(
    "click",
    (event) => {
      if (dragged && event.detail) event.stopPropagation(); // a key's click has no detail
    },
    true,
  );
  view.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 33 : 1,
        speed = event.ctrlKey ? 0.01 : 0.0015; // a pinch on a touchpad comes as a slow wheel with this key
      setZoom(zoom * Math.exp(-event.deltaY * lines * speed), event.clientX, event.clientY);
    },
    { passive: false },
  );
}

function startField() {
  byId("field-before").addEventListener("click", () => openNextField(-1));
  byId("field-after").addEventListener("click", () => openNextField(1));
  byId("field-close").addEventListener("click", () => byId("field").close());
  byId("zoom-in").addEventListener("click", () => zoomBy(STEP));
  byId("zoom-out").addEventListener("click", () => zoomBy(1 / STEP));
  byId("zoom-fit").addEventListener("click", () => setZoom(1));
  byId("show-field").addEventListener("click", () => {
    const cell = current;
    byId("cell").close();
    openField(cell.field, cell);
  });
  byId("field").addEventListener("close", () => {
    current = cardOf(cellBefore) ? cellBefore : (found[page * PER_PAGE] ?? null);
    if (fromCell) rove(true);
    else focusField(shownField);
  });
  startPointers(byId("field-view"));
  new ResizeObserver(() => byId("field").open && setZoom(zoom)).observe(byId("field-view"));
}

/** Where the open cell lies. */
function drawPlace(cell) {
  byId("place").hidden = !cell.field;
  if (!cell.field) return;
  byId("show-field").textContent = cell.box ? "Show in its field" : "Show the field";
  const of = cell.field.cells.filter((one) => one.box).length;
  byId("place-text").textContent = cell.box ? `${cell.path}, cell ${cell.part} of ${of}` : cell.path;
}
