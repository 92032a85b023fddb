// Comments on cells, typed at a station. Each goes with the next label of its cell, and stays in the page until then.

const COMMENTS = "comments";
const comments = new Map(); // by the cell's number

/** The comment that goes with a label. */
function takeComment(cell, to) {
  if (to === null) return "";
  const comment = comments.get(cell.seq) ?? "";
  setComment(cell, "");
  return comment.replace(/\s+/g, " ").trim();
}

function setComment(cell, text) {
  if (text.trim()) comments.set(cell.seq, text);
  else comments.delete(cell.seq);
  if (cell === current && byId("comment").value !== text) byId("comment").value = text;
  showComments();
}

/** Say which cells have a comment that is not kept, but the one that is open: whoever types it sees it. */
function showComments() {
  const open = byId("cell").open ? current.seq : 0,
    seqs = [...comments.keys()].filter((seq) => seq !== open);
  const one = "The comment on no. # is kept only with a label: give the cell one.",
    more = "The comments on no. # are kept only with a label: give each cell one.";
  tell(COMMENTS, seqs.length ? (seqs.length === 1 ? one : more).replace("#", seqs.join(", ")) : "");
}

function startComments() {
  byId("cell").addEventListener("close", showComments);
  byId("comment").addEventListener("input", () => setComment(current, byId("comment").value));
  byId("comment").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    byId("relabel").querySelector("button").focus();
  });
}
