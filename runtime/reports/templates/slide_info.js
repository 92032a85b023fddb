// Facts of the slide, typed at a station. All of them are sent, and all count in place of what `slide.toml` says.

const FIGURES = ["mpp", "white_count"];

/** The facts that the form was filled with: those of another person who has typed meanwhile are shown first. */
let infoBefore = "";

const infoFields = () => [...byId("info-form").elements].filter((element) => element.name);

function openInfo() {
  byId("info-said").textContent = "";
  fillInfo();
  byId("info").showModal();
}

function fillInfo() {
  infoBefore = JSON.stringify(meta.info);
  for (const field of infoFields())
    if (field.type === "checkbox") field.checked = meta.info[field.name] ?? false;
    else field.value = meta.info[field.name] ?? "";
}

/** What is in the form; text that is no figure where one belongs is an error. */
function typedInfo() {
  const info = {};
  for (const field of infoFields()) {
    const text = field.value.trim(),
      figure = Number(text.replace(",", "."));
    if (field.type === "checkbox") info[field.name] = field.checked;
    else if (!FIGURES.includes(field.name)) info[field.name] = text;
    else if (text && !Number.isFinite(figure)) throw new Error(`${text} is no number`);
    else info[field.name] = text ? figure : null;
  }
  info.white_count_corrected &&= info.white_count !== null;
  return info;
}

async function keepInfo() {
  if (!isKnown(keepInfo)) return;
  const say = (text) => (byId("info-said").textContent = text && `Not kept: ${text}.`);
  say("");
  try {
    const info = typedInfo();
    await askForChanges();
    if (JSON.stringify(meta.info) !== infoBefore) {
      fillInfo();
      return say("somebody else has typed meanwhile, which is shown now: type yours again");
    }
    await ask("facts", { by: station.reviewer, revision: meta.revision, info });
    byId("info").close();
  } catch (error) {
    const isDown = error instanceof TypeError; // of fetch
    say(isDown ? "the station does not answer" : error.status === 409 ? JSON.parse(error.message).said : error.message);
  }
  await askForChanges();
}

function startInfo() {
  byId("type-facts").addEventListener("click", openInfo);
  byId("info-cancel").addEventListener("click", () => byId("info").close());
  byId("info-form").addEventListener("submit", (event) => {
    event.preventDefault();
    keepInfo();
  });
}
