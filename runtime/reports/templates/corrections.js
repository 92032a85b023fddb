// Corrections: stored in this browser until the report has them.

const HERE = "confirmed here";
const corrections = { entries: new Map(), lost: [], saved: true, key: `cartcls ${meta.report}` };

const isKnown = () => true; // who reviews is said when the corrections are applied

function restore() {
  try {
    const stored = JSON.parse(localStorage.getItem(corrections.key) ?? "null");
    const bySeq = new Map(cells.map((cell) => [cell.seq, cell]));
    for (const entry of stored?.entries ?? []) {
      const cell = bySeq.get(entry.seq);
      const same = cell?.sha256 === entry.sha256,
        last = !cell?.corrected || (cell.corrected === entry.from && cell.correctedAt === entry.since),
        fits = same && canBeCorrected(cell) && last;
      if (!cell || fits)
        corrections.entries.set(entry.seq, entry); // a cell whose file did not load may be there the next time
      else if (!same || cell.corrected !== entry.to) corrections.lost.push(entry.seq);
    }
    corrections.saved = corrections.entries.size === 0 || (stored?.saved ?? true);
  } catch {
    /* a browser that stores nothing still saves to a file */
  }
}

function store() {
  try {
    if (!corrections.entries.size) localStorage.removeItem(corrections.key);
    else
      localStorage.setItem(
        corrections.key,
        JSON.stringify({ saved: corrections.saved, entries: [...corrections.entries.values()] }),
      );
  } catch {
    /* as above */
  }
  showUnsaved();
  fillStatus();
}

function relabel(cell, to) {
  if (!canBeCorrected(cell)) return;
  if (to === null || (to === saved(cell) && cell.corrected !== null)) corrections.entries.delete(cell.seq);
  else
    corrections.entries.set(cell.seq, {
      seq: cell.seq,
      sha256: cell.sha256,
      from: saved(cell),
      to,
      since: cell.correctedAt,
    });
  corrections.saved = corrections.entries.size === 0;
  store();
  drawCard(cell);
}

function startCorrections() {
  byId("save").addEventListener("click", save);
  byId("discard").addEventListener("click", discard);
  window.addEventListener("beforeunload", (event) => {
    if (!corrections.saved) event.preventDefault();
  });
  showUnsaved();
}

const fileName = () => `corrections-${meta.slide}.csv`;
const pathOf = (seq) => cells.find((cell) => cell.seq === seq)?.path ?? "";
/** A word of a command line, as a shell takes it. */
const quoted = (word) => (/^[\w.-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function csv() {
  const quote = (value) => (/[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const rows = [...corrections.entries.values()]
    .sort((a, b) => a.seq - b.seq)
    .map((entry) => [meta.report, meta.slide, meta.bundle_sha256, entry.seq, entry.sha256, entry.from, entry.to, pathOf(entry.seq), ""]);
  return [["report", "slide", "bundle_sha256", "seq", "sha256", "from", "to", "path", "comment"], ...rows]
    .map((row) => row.map(quote).join(",") + "\n")
    .join("");
}

function save() {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.download = fileName();
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  corrections.saved = true;
  store();
}

function discard() {
  const changed = cells.filter((cell) => corrections.entries.has(cell.seq));
  corrections.entries.clear();
  corrections.lost = [];
  corrections.saved = true;
  store();
  changed.forEach(drawCard);
}

function showUnsaved() {
  const count = corrections.entries.size,
    lost = corrections.lost.length;
  byId("unsaved").hidden = count + lost === 0;
  byId("save").hidden = count === 0 || corrections.saved;
  byId("discard").textContent = count && corrections.saved ? "Clear" : "Discard";
  const many = `${count} correction${count === 1 ? "" : "s"}`;
  const state = corrections.saved
    ? [
        `${many} saved to ${fileName()}, among this browser's downloads. In that folder, run `,
        make("code", "", `cartcls correct OUT ${quoted(fileName())} --by NAME`),
        " where OUT is the folder that holds this report's folder, and NAME is yours.",
      ]
    : [`${many}, not saved yet`];
  const fit = lost === 1 ? " no longer fits" : "s no longer fit",
    misfits = `${lost} correction${fit}: no. ${corrections.lost.join(", ")}`;
  byId("unsaved-text").replaceChildren(
    ...(count ? state : []),
    count && lost ? " · " : "",
    lost ? misfits : "",
  );
}
