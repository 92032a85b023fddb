// What the pages of a station have in common: they ask it again and again, and say so where it does not answer.

const AWAY = "The station does not answer",
  STARTED_AGAIN = "The station was started again";

/** Ask the station; an answer that is no success is an error with its status and what it said. */
async function ask(path, body) {
  const answer = await fetch(path, body === undefined ? {} : { method: "POST", body: JSON.stringify(body) });
  if (answer.ok && !answer.redirected) return answer;
  const text = await answer.text(),
    status = answer.redirected ? 401 : answer.status; // a page is not refused, but sent to where the token is asked for
  throw Object.assign(new Error(text.replace(/\.$/, "")), { status });
}

function showBanners(banners) {
  const said = banners.join("\n");
  if (byId("banners").dataset.said === said) return;
  byId("banners").dataset.said = said;
  byId("banners").replaceChildren(
    ...banners.map((text) => {
      const banner = document.createElement("p");
      banner.className = "note strong";
      banner.textContent = `${text}.`;
      return banner;
    }),
  );
}

/** Say why the page does not follow what happens. */
function showWhyOld(error) {
  if (error.status === 401) showBanners([`${STARTED_AGAIN}: what you see may be old. Open its new link in this browser, too`]);
  else if (error.status === 404) showBanners([error.message]);
  else showBanners([`${AWAY}: what you see may be old. Start it again: cartcls review`]);
}
