// One cell, opened: its probabilities, and the heat map of any class.

/** Width of a thumbnail's half; a cell of a field is shown as its crop is, not as the field. */
function thumbnailWidth(cell) {
  const [width, height] = cell.part === null ? [cell.width, cell.height] : meta.crop;
  return Math.min(Math.max(1, Math.round((width * meta.thumbnailHeight) / height)), 4 * meta.thumbnailHeight);
}

/** Classes whose probabilities are shown. */
const classesOf = (cell) => meta.classes.filter((entry) => cell.part === null || !meta.notSearched.includes(entry.name));

function openCell(cell) {
  current = cell;
  shownClass = classOf.get(cell.label) ?? meta.classes[0];
  if (!byId("cell").open) byId("cell").showModal();
  drawCell();
}

/** One of the pictures that a thumbnail has side by side, by its place: the cell, Grad-CAM, attention. */
function view(element, cell, place = 0) {
  const width = thumbnailWidth(cell);
  element.style.aspectRatio = `${width} / ${meta.thumbnailHeight}`;
  element.replaceChildren();
  if (!cell.thumbnail) return;
  const picture = make("img");
  picture.src = cell.thumbnail;
  picture.alt = "";
  picture.style.width = `${100 * meta.panels}%`;
  picture.style.left = `${-100 * place}%`;
  element.append(picture);
}

async function drawCell() {
  const cell = current,
    label = present(cell);
  byId("cell-title").replaceChildren(make("span", `dot ${colorOf(label)}`), `${cell.status === "empty" ? "no cell" : title(label)} · no. ${cell.seq}`);
  drawChange(cell);
  byId("before").disabled = row().indexOf(cell) <= 0;
  byId("after").disabled = !row().includes(cell) || cell === row().at(-1);
  byId("crop").parentElement.hidden = byId("heat").parentElement.hidden = !cell.thumbnail;
  byId("heat").parentElement.hidden ||= !meta.hasMaps;
  if (cell.thumbnail) {
    view(byId("crop"), cell);
    view(byId("heat"), cell);
  }
  if (meta.hasAttention) {
    byId("attention").parentElement.hidden = !cell.thumbnail;
    view(byId("attention"), cell, 2);
  }
  drawProbabilities(cell);
  drawReason(cell);
  if (meta.live) drawOriginal(cell);
  if (meta.ofFields) drawPlace(cell);
  byId("relabel").hidden = !canBeCorrected(cell);
  byId("relabel")
    .querySelectorAll("button")
    .forEach((element) => element.setAttribute("aria-pressed", element.dataset.label === label));
  const facts = {
    file: placeOf(cell),
    model: cell.label ? `${title(cell.label)}, ${decimals(confidence(cell), 4)}` : "no label",
    person:
      cell.corrected === null
        ? "not reviewed"
        : `${title(cell.corrected)}, by ${cell.correctedBy}, ${when(cell.correctedAt)}`,
    comment: cell.comment,
    pixels: cell.box ? `${cell.box[2]} × ${cell.box[3]}, at ${cell.box[0]}, ${cell.box[1]}` : cell.width ? `${cell.width} × ${cell.height}` : "",
    "box of the cell": cell.boxFound ? `${cell.boxFound[2]} × ${cell.boxFound[3]}, at ${cell.boxFound[0]}, ${cell.boxFound[1]}${cell.part === null ? "" : " of its crop"}` : "",
    analysed: when(cell.analysedAt),
    "SHA-256": cell.sha256 ?? "",
  };
  byId("facts").replaceChildren(
    ...Object.entries(facts)
      .filter(([, value]) => value)
      .flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]),
  );
  byId("heat-title").textContent = "";
  if (!cell.thumbnail || !meta.hasMaps) return;
  await load("maps", Math.floor((cell.seq - 1) / meta.mapsInFile));
  if (cell !== current) return;
  drawHeat(cell);
  if (meta.hasAttention) nameAttention(cell);
}

/** Beside the attention of the open cell stands how high it is, which the colours do not tell. */
function nameAttention(cell) {
  const span = maps.get(cell.seq)?.slice(-2);
  const [low, high] = [...(span ?? [])].map((value) => decimals(value / 255));
  byId("attention-title").textContent = span ? `from ${low} (no colour) to ${high} (red), whatever the class` : "";
}

/** Why the open cell is not `ok`; a duplicate of a cell leads to it. */
function drawReason(cell) {
  byId("why").textContent = cell.reason ? `${cell.status}: ${cell.reason}` : "";
  const counted = cell.sameCellAs === null ? null : cells.find((other) => other.seq === cell.sameCellAs);
  if (counted) byId("why").append(" ", button("", `Show no. ${counted.seq}`, () => openCell(counted)));
}

/** What was done to the open cell in this page. */
function drawChange(cell) {
  const entry = corrections.entries.get(cell.seq);
  const changed = entry && entry.to !== entry.from;
  byId("change").textContent = changed ? `changed here, was ${title(entry.from)}` : entry ? HERE : "";
}

function drawProbabilities(cell) {
  byId("chances-title").hidden = !cell.probabilities.length;
  byId("chances").replaceChildren(
    ...(cell.probabilities.length ? classesOf(cell) : []).map((entry) => {
      const value = cell.probabilities[entry.index];
      const element = button(`k${entry.index}`, "", () => showClass(entry));
      element.setAttribute("role", "radio");
      element.setAttribute("aria-checked", entry === shownClass);
      element.tabIndex = entry === shownClass ? 0 : -1;
      const bar = svg("svg", { width: "100%", height: "4", "aria-hidden": "true" });
      bar.append(svg("rect", { class: "fill", width: `${value / 100}%`, height: "4", rx: "2" }));
      element.append(
        make("span", "dot"),
        make("span", "", entry.title),
        make("span", "", decimals(value / 10000, 4)),
        bar,
      );
      return element;
    }),
  );
}

function showClass(entry) {
  shownClass = entry;
  drawProbabilities(current);
  drawHeat(current);
  byId("chances").children[classesOf(current).indexOf(entry)].focus();
}

/** Weights of OpenCV's INTER_CUBIC and the four samples they belong to, for each pixel of a line. */
function cubic(count, size) {
  return Array.from({ length: size }, (_, pixel) => {
    const at = ((pixel + 0.5) * count) / size - 0.5,
      first = Math.floor(at),
      t = at - first,
      a = -0.75;
    const near = (x) => ((a + 2) * x - (a + 3)) * x * x + 1,
      far = (x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    return [far(t + 1), near(t), near(1 - t), far(2 - t)].map((weight, i) => [
      weight,
      Math.min(Math.max(first - 1 + i, 0), count - 1),
    ]);
  });
}

/** The map of the chosen class over the crop, in the colours of the thumbnails; nothing where it has no evidence. */
function drawHeat(cell) {
  const packed = maps.get(cell.seq);
  byId("heat").querySelector("canvas")?.remove();
  if (!packed) {
    byId("heat-title").textContent = "no heat map is stored";
    return;
  }
  const [count, rows, columns] = packed,
    start = 3 + count + shownClass.index * rows * columns;
  const share = Math.round(packed[3 + shownClass.index] / 2.55);
  byId("heat-title").textContent = share
    ? `Evidence for ${shownClass.title}: its peak, in red, is ${share} % of the highest peak of all classes`
    : `No evidence for ${shownClass.title}`;
  if (!share) return;
  const width = thumbnailWidth(cell),
    height = meta.thumbnailHeight;
  const across = cubic(columns, width),
    down = cubic(rows, height);
  const lines = Array.from({ length: rows }, (_, row) =>
    across.map((taps) => taps.reduce((sum, [weight, i]) => sum + weight * packed[start + row * columns + i], 0)),
  );
  const canvas = make("canvas"),
    context = canvas.getContext("2d"),
    image = new ImageData(width, height);
  canvas.width = width;
  canvas.height = height;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const heat = Math.min(Math.max(down[y].reduce((sum, [weight, i]) => sum + weight * lines[i][x], 0) / 255, 0), 1);
      const at = 4 * (y * width + x),
        color = 3 * Math.floor(heat * 255);
      image.data.set(
        [colors[color], colors[color + 1], colors[color + 2], 255 * meta.strength * Math.min(2 * heat, 1)],
        at,
      );
    }
  context.putImageData(image, 0, 0);
  byId("heat").append(canvas);
}
