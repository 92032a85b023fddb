// Corrections at a station: each is sent as it is made, and is in the ledger when the page says so. What else changes on
// the slide comes by asking the station again and again.

const HERE = "not kept yet",
  WAITS = "what waits";
const ASK_EVERY = 1000, // ms; four times as long where nobody looks at the page
  TRY_AGAIN = 2000,
  AT_A_TIME = 500; // cells that are told to have been shown
const corrections = { entries: new Map() };
const station = {
  reviewer: "",
  sending: Promise.resolve(),
  shown: new Map(), // cells whose card came into view and that the station was not told of, with their label
  refusals: [],
  said: new Map(), // what the reviewer was told and has not put away, by what it is about
  asking: null,
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Ask again until it is kept or refused, where the station does not answer, was started again, or cannot write now. */
async function askUntilAnswered(path, body) {
  for (;;) {
    try {
      const answer = await ask(path, body);
      tell(WAITS, "");
      return answer;
    } catch (error) {
      if (error.status !== undefined && error.status !== 401 && error.status < 500) throw error;
      const why = error.status === 401 ? `${STARTED_AGAIN}: open its new link in this browser, too` : error.message;
      const said = error.status === undefined ? AWAY : why;
      tell(WAITS, `${said}. What is marked “not kept yet” is sent again until it is kept.`);
      await pause(TRY_AGAIN);
    }
  }
}

/** Say something of a cell, of what waits, or of a class, in place of what was said of it before. */
function tell(of, message) {
  if (message) station.said.set(of, message);
  else station.said.delete(of);
  showUnsaved();
}

/** Show what is said, in what is open: all else is behind it, and cannot be reached. */
function showUnsaved() {
  const place = ["cell", "field"].map(byId).find((known) => known?.open) ?? document.querySelector("main");
  if (byId("unsaved").parentElement !== place) place.append(byId("unsaved"));
  const text = [...station.said.values()].join(" ");
  byId("unsaved").hidden = !text;
  if (byId("unsaved-text").textContent !== text) byId("unsaved-text").textContent = text; // it is read out
}

function restore() {
  try {
    station.reviewer = localStorage.getItem("cartcls reviewer") ?? "";
  } catch {
    /* a browser that stores nothing asks each time */
  }
}

function askReviewer(act = () => {}) {
  byId("who-name").value = station.reviewer;
  byId("who-set").onclick = () => {
    const name = byId("who-name").value.replace(/\s+/g, " ").trim();
    if (!name) return;
    if (station.reviewer && name !== station.reviewer) lookAnew();
    station.reviewer = name;
    try {
      localStorage.setItem("cartcls reviewer", name);
    } catch {
      /* as above */
    }
    byId("who").close();
    showReviewer();
    act();
  };
  byId("who").showModal();
}

function showReviewer() {
  byId("reviewer").textContent = station.reviewer || "who are you?";
  byId("sign").textContent = station.reviewer ? `Sign as ${station.reviewer}` : "Sign";
}

/** Whether it is known who reviews; else that is asked first, and then what was to be done is done. */
function isKnown(act) {
  if (!station.reviewer) askReviewer(act);
  return station.reviewer !== "";
}

function relabel(cell, to) {
  if (!canBeCorrected(cell) || !isKnown(() => relabel(cell, to))) return;
  const pending = corrections.entries.get(cell.seq);
  const same = to === cell.corrected && cell.correctedBy === station.reviewer;
  const comment = takeComment(cell, to);
  if (!pending && !comment && (to === null ? cell.corrected === null : same)) return;
  const entry = { from: saved(cell), to: to ?? cell.label, wish: to, sha256: cell.sha256, by: station.reviewer, comment };
  corrections.entries.set(cell.seq, entry);
  drawCard(cell);
  station.sending = station.sending.then(() => keep(cell, entry));
}

async function keep(cell, entry) {
  const { sha256, by, comment } = entry,
    wish = { seq: cell.seq, sha256, base: cell.base, to: entry.wish, by, comment };
  try {
    const answer = await askUntilAnswered("corrections", wish);
    takeRows([(await answer.json()).row]);
    tell(cell.seq, "");
  } catch (error) {
    const refused = error.status === 409 ? JSON.parse(error.message) : { said: error.message };
    const again = error.status === 409 ? " Press the key again to overwrite that." : "";
    const what = entry.wish === null ? "The label of no. # was not taken back" : `No. # was not labelled ${title(entry.to)}`;
    tell(cell.seq, `${what.replace("#", cell.seq)}: ${refused.said}.${again}`);
    if (refused.row) takeRows([refused.row]);
    if (!comments.has(cell.seq)) setComment(cell, entry.comment);
  }
  if (corrections.entries.get(cell.seq) === entry) corrections.entries.delete(cell.seq);
  drawCard(cell);
  askForChanges();
}

/** Take rows as they are now; cells that are new are added to those that are shown. */
function takeRows(rows) {
  const known = new Map(cells.map((cell) => [cell.seq, cell]));
  const added = [];
  for (const row of rows) {
    const now = Object.fromEntries(meta.fields.map((name, i) => [name, row[i]])),
      cell = known.get(now.seq);
    if (!cell) {
      cells.push(now);
      added.push(now);
    } else if (meta.fields.some((name) => JSON.stringify(cell[name]) !== JSON.stringify(now[name]))) {
      Object.assign(cell, now);
      drawCard(cell);
    }
  }
  if (!added.length) return;
  sortCells();
  addToGroups(added);
  drawPage(byId("cells").contains(document.activeElement));
}

/** Take what has changed on the slide since the last time; asked for while it is being asked, it is asked once more. */
async function askForChanges() {
  station.again = true;
  station.asking ??= (async () => {
    while (station.again) {
      station.again = false;
      try {
        await takeChanges();
      } catch (error) {
        showWhyOld(error);
      }
    }
    station.asking = null;
  })();
  return station.asking;
}

async function takeChanges() {
  const state = await (await ask(`state?by=${encodeURIComponent(station.reviewer)}`)).json();
  showBanners(state.banners);
  showRefusals(state.refusals);
  if (state.revision === meta.revision) return;
  for (const [number, digest] of state.chunks.entries()) {
    if (meta.chunks[number] === digest) continue;
    takeRows(await (await ask(`rows/${number}`)).json());
    const perFile = meta.rowsInFile / meta.mapsInFile;
    for (let i = 0; i < perFile; i++) loading.delete(fileOf("maps", number * perFile + i));
    if (meta.ofFields) await takeFields(number);
  }
  const page = new DOMParser().parseFromString(await (await ask("")).text(), "text/html");
  for (const id of ["summary", "checks"]) byId(id).replaceWith(page.getElementById(id));
  const { revision, chunks } = state; // those of the page may be newer than the rows that were taken
  Object.assign(meta, JSON.parse(page.getElementById("meta").textContent), { revision, chunks });
  showTimes();
  fillFilters();
  showBulk();
}

async function takeFields(number) {
  loading.delete(fileOf("fields", number));
  const last = number * meta.rowsInFile;
  fields.splice(0, fields.length, ...fields.filter((one) => one.seqs[0] <= last || one.seqs[0] > last + meta.rowsInFile));
  await load("fields", number);
  joinFields();
  drawFields();
}

function showRefusals(refusals) {
  station.refusals = refusals;
  byId("refusals").replaceChildren(...refusals.map((text) => make("li", "", text)));
  byId("sign").disabled = refusals.length > 0;
}

/** Wait for the reviewer's own labels, and for what the slide became by them: they are no change by somebody else. */
async function allKept() {
  await station.sending;
  await station.asking;
  await tellShown();
}

async function sign() {
  if (!isKnown(sign)) return;
  byId("sign-said").textContent = "";
  try {
    await allKept();
    await ask("signatures", { by: station.reviewer, revision: meta.revision });
    byId("sign-said").textContent = `Signed by ${station.reviewer}`;
  } catch (error) {
    byId("sign-said").textContent = `Not signed: ${error.status === 409 ? JSON.parse(error.message).said : error.message}`;
  }
  await askForChanges();
}

/** The cells of the shown class that can be confirmed at once, since none of them is for review. */
function forBulk() {
  const entry = classOf.get(filter.label);
  if (!entry || entry.alwaysReview || filter.reason) return [];
  return cells.filter((cell) => cell.label === filter.label && cell.status === "ok" && cell.corrected === null);
}

function showBulk() {
  const count = forBulk().length;
  byId("bulk").hidden = !count;
  byId("bulk").textContent = count === 1 ? "Confirm the ok cell" : `Confirm all ${count} ok cells`;
}

async function confirmInBulk() {
  if (!isKnown(confirmInBulk)) return;
  try {
    await allKept();
    const wanted = forBulk().length;
    const wish = { label: filter.label, by: station.reviewer, revision: meta.revision };
    const { confirmed } = await (await ask("bulk", wish)).json();
    const rest = wanted - confirmed;
    tell(filter.label, `${confirmed} confirmed.${rest > 0 ? ` ${rest} were not shown to you: scroll through them, and press it again.` : ""}`);
  } catch (error) {
    tell(filter.label, `Not confirmed: ${error.status === 409 ? JSON.parse(error.message).said : error.message}`);
  }
  await askForChanges();
}

function noteShown(element) {
  const cell = cells.find((known) => known.seq === Number(element.dataset.seq));
  if (cell && canBeCorrected(cell)) station.shown.set(cell.seq, saved(cell));
}

/** Note cards that come into view: a slide is signed by who has seen its cells. */
const inSight = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      const picture = target.querySelector("img");
      if (!picture || picture.complete) noteShown(target);
      else picture.addEventListener("load", () => noteShown(target));
    }
  },
  { threshold: 0.5 },
);

/** What came into view is told of the person who reviews; before there is a name, it waits for that. */
async function tellShown() {
  const { reviewer: by, shown } = station;
  while (by && shown.size) {
    const told = [...shown].slice(0, AT_A_TIME);
    const { refusals } = await (await ask("shown", { by, cells: told })).json();
    if (by === station.reviewer) showRefusals(refusals);
    for (const [seq, label] of told) if (shown.get(seq) === label) shown.delete(seq);
  }
}

/** Another person will review, who has seen nothing yet but what is in view now. */
function lookAnew() {
  tellShown().catch(() => {});
  station.shown = new Map();
  for (const element of byId("cells").querySelectorAll(".cell")) {
    inSight.unobserve(element);
    inSight.observe(element);
  }
}

/** The original at full size, asked for where it is opened. */
function drawOriginal(cell) {
  const place = byId("original"),
    text = place.querySelector("p");
  place.hidden = !cell.thumbnail;
  byId("comment").parentElement.hidden = !canBeCorrected(cell);
  setComment(cell, comments.get(cell.seq) ?? "");
  if (place.dataset.seq === String(cell.seq)) return;
  place.dataset.seq = cell.seq;
  text.textContent = "";
  if (!place.open) return;
  const image = make("img", "picture");
  image.alt = `Original of no. ${cell.seq}`;
  image.onerror = () => (text.textContent = "The original is no longer there, or has changed.");
  image.src = `originals/${cell.seq}.png`;
  text.replaceChildren(image);
}

function startCorrections() {
  showReviewer();
  showBanners(meta.banners);
  showRefusals(meta.refusals);
  showBulk();
  byId("reviewer").addEventListener("click", () => askReviewer());
  byId("sign").addEventListener("click", sign);
  startInfo();
  startComments();
  byId("bulk").addEventListener("click", confirmInBulk);
  byId("discard").addEventListener("click", () => {
    station.said.clear();
    showUnsaved();
  });
  for (const id of ["cell", "field"]) byId(id)?.addEventListener("close", showUnsaved);
  byId("who-cancel").addEventListener("click", () => byId("who").close());
  byId("who-name").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    byId("who-set").click();
  });
  byId("original").addEventListener("toggle", () => {
    delete byId("original").dataset.seq;
    if (current) drawOriginal(current);
  });
  for (const element of byId("cells").querySelectorAll(".cell")) inSight.observe(element);
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes)
      for (const node of addedNodes)
        if (node.nodeType === Node.ELEMENT_NODE)
          for (const element of node.matches(".cell") ? [node] : node.querySelectorAll(".cell")) inSight.observe(element);
  }).observe(byId("cells"), { childList: true, subtree: true });
  window.addEventListener("beforeunload", (event) => {
    if (corrections.entries.size || comments.size) event.preventDefault();
  });
  (async () => {
    for (;;) {
      await pause(document.hidden ? 4 * ASK_EVERY : ASK_EVERY);
      await tellShown().catch(() => {});
      await askForChanges();
    }
  })();
}
