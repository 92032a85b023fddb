"""A reviewer at the station while a watch runs, is killed, and goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from browsing import IN_CI, chromium_started, shown
from field_trial import FieldTrial
from playwright.sync_api import Browser, Page, Route, expect
from trial import Trial

from cartcls.runtime.reports.rebuild import verify_reports

PATIENCE = 60_000.0  # ms
AXE = os.environ.get("AXE")  # axe.min.js of the npm package axe-core


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_started() as started:
        yield started


@pytest.fixture
def trial(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """A watch with three cells, or fields."""
    made = getattr(request, "param", Trial)(tmp_path)
    for number in range(3):
        made.put(number)
    made.start()
    made.until_done()
    yield made
    made.end()


@contextmanager
def station(out: Path, port: str = "0") -> Iterator[str]:
    """A station; its link."""
    command = [sys.executable, "-m", "cartcls.cli", "review", os.fspath(out), "--no-open", "--port", port]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
        assert process.wait(60) == 0


@pytest.fixture
def link(trial: Trial) -> Iterator[str]:
    """Of a station beside the watch."""
    with station(trial.out) as started:
        yield started


@pytest.fixture
def page(chromium: Browser, link: str) -> Iterator[Page]:
    """The slide at the station; it may complain of nothing, and ask for nothing from elsewhere."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page, said, asked = context.new_page(), [], []
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(link)
    page.click("text=captures")
    page.wait_for_selector("body[data-ready]")
    yield page
    refused = ("401 (Un", "409 (Conflict)", "422 (Un", "507 (Insufficient Storage)")  # the page says why
    assert [line for line in said if not any(code in line for code in refused)] == []
    origin = link.partition("/?")[0]
    assert [url for url in asked if not url.startswith(f"{origin}/")] == []
    context.close()


def count(page: Page, label: str) -> str:
    return page.locator(f"table.differential tr:has(a[data-label='{label}']) td.number").first.inner_text()


def see_all(page: Page) -> None:
    """Scroll through all cells, until nothing keeps the reviewer from signing."""
    for seq in shown(page):
        page.locator(f".cell[data-seq='{seq}']").scroll_into_view_if_needed()
        expect(page.locator(f".cell[data-seq='{seq}'] img")).to_have_js_property("complete", True)
    expect(page.locator("#sign")).to_be_enabled()


def type_facts(page: Page) -> None:
    """Type what the laboratory says of the slide, twice wrongly."""
    page.click("#type-facts")
    page.fill("#info [name=sample]", "<b>26-0815</b>")
    page.fill("#info [name=white_count]", "7,4 or so")
    page.keyboard.press("Enter")
    expect(page.locator("#info-said")).to_have_text("Not kept: 7,4 or so is no number.")
    page.fill("#info [name=white_count]", "-7,4")
    page.click("#info button:text('Keep')")
    expect(page.locator("#info-said")).to_contain_text("Not kept: white_count is in 10⁹ per litre, above 0")
    page.fill("#info [name=white_count]", "7,4")
    page.keyboard.press("Enter")
    expect(page.locator("#info")).to_be_hidden()
    expect(page.locator("dl.info")).to_contain_text("<b>26-0815</b>")
    expect(page.locator("#summary")).to_contain_text("Typed by <b>Anna</b>")
    assert "7.4 × 10⁹/l" in page.locator("dl.info").inner_text()


def test_a_slide_is_reviewed_and_signed_beside_a_watch(page: Page, trial: Trial):
    page.evaluate("window.sameDocument = true")
    assert sorted(shown(page)) == [1, 2, 3]
    for number in range(3, 6):
        trial.put(number)
    expect(page.locator("#cells .cell")).to_have_count(6)
    expect(page.locator("#sign")).to_be_disabled()

    page.locator(".cell").first.focus()
    page.keyboard.press("3")  # monocyte; it asks who reviews first
    page.fill("#who-name", "<b>Anna</b>")
    page.keyboard.press("Enter")
    page.keyboard.press("3")
    page.keyboard.press("n")
    expect(page.locator(".cell:has-text('by <b>Anna</b>')")).to_have_count(3)
    expect(page.locator("table.differential tr:has(a[data-label='monocyte']) td.number").first).to_have_text("2")
    assert count(page, "eosinophil") == "3"

    type_facts(page)

    trial.send(signal.SIGKILL)
    expect(page.locator("#banners")).to_contain_text("The watch has stopped")
    trial.start()
    expect(page.locator("#banners")).to_be_empty()
    trial.until(lambda: sum(row["corrected_by"] == "<b>Anna</b>" for row in trial.rows()) == 3, "labels are lost")

    see_all(page)
    page.click("#sign")
    expect(page.locator(".signed")).to_contain_text("Signed. <b>Anna</b>")
    trial.put(6)
    expect(page.locator(".signed")).to_contain_text("Signature void: the slide has changed since.")
    expect(page.locator("#cells .cell")).to_have_count(7)
    assert page.evaluate("window.sameDocument")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("dl.info")).to_contain_text("<b>26-0815</b>")
    page.click("#type-facts")
    expect(page.locator("#info [name=white_count]")).to_have_value("7.4")
    assert trial.send(signal.SIGTERM) == 0
    (slide,) = verify_reports(trial.out)
    assert [(made.signer, made.is_void) for made in slide.signatures] == [("<b>Anna</b>", True)]
    assert slide.differences == [] and not slide.passes


def test_the_later_of_two_reviewers_sees_what_the_earlier_said(page: Page, link: str, chromium: Browser):
    context = chromium.new_context()
    other = context.new_page()
    other.set_default_timeout(PATIENCE)
    other.goto(link)
    other.click("text=captures")
    for one, name in ((page, "Anna"), (other, "Ben")):
        one.wait_for_selector("body[data-ready]")
        one.evaluate(f"station.reviewer = '{name}'")
    page.evaluate("askForChanges = async () => {}")  # hears nothing of the other
    other.locator(".cell[data-seq='1']").focus()
    other.keyboard.press("3")
    expect(other.locator(".cell[data-seq='1']")).to_contain_text("by Ben, was eosinophil")
    page.locator(".cell[data-seq='1']").focus()
    page.keyboard.press("1")
    expect(page.locator("#unsaved-text")).to_contain_text("Ben has labelled it monocyte since")
    expect(page.locator(".cell[data-seq='1']")).to_contain_text("by Ben, was eosinophil")
    page.locator(".cell[data-seq='2']").focus()
    page.keyboard.press("1")
    expect(page.locator(".cell[data-seq='2']")).to_contain_text("by Anna")
    expect(page.locator("#unsaved-text")).to_contain_text("Ben has labelled it monocyte since")  # until it was read
    page.locator(".cell[data-seq='1']").focus()
    page.keyboard.press("1")
    expect(page.locator(".cell[data-seq='1']")).to_contain_text("by Anna")
    expect(page.locator("#unsaved")).to_be_hidden()
    expect(other.locator(".cell[data-seq='1']")).to_contain_text("by Anna")
    other.locator(".cell[data-seq='2']").focus()
    other.keyboard.press("Backspace")
    expect(other.locator("#unsaved-text")).to_have_text(
        "The label of no. 2 was not taken back: Anna labelled it "
        "neutrophil, which nobody else takes back: give it your own label."
    )
    expect(other.locator(".cell[data-seq='2']")).to_contain_text("by Anna")
    context.close()


def test_each_signer_has_to_look_at_the_cells(page: Page):
    page.set_viewport_size({"width": 1280, "height": 400})

    def be(name: str) -> None:
        page.evaluate("byId('reviewer').click()")  # without scrolling
        page.fill("#who-name", name)
        page.keyboard.press("Enter")

    missing = "not shown to you, so scroll through them: 3 eosinophil"
    expect(page.locator("#refusals")).to_contain_text("nobody has said who signs")
    be("Anna")
    expect(page.locator("#refusals")).to_have_text(missing)
    see_all(page)
    page.evaluate("byId('sign').click()")
    expect(page.locator(".signed")).to_contain_text("Signed. Anna")
    with page.expect_response(lambda answer: '"by":"Ben"' in (answer.request.post_data or "")):
        be("Ben")  # who has them in view
    page.click("#sign")
    expect(page.locator(".signed").last).to_contain_text("Signed by a second person. Ben")
    page.evaluate("window.scrollTo(0, 0)")
    be("Cleo")
    expect(page.locator("#refusals")).to_have_text(missing)


def test_a_label_that_cannot_be_kept_now_is_sent_again_under_the_name_that_made_it(page: Page):
    page.wait_for_selector("body[data-ready]")
    page.evaluate("station.reviewer = 'Anna'")
    refusals = [(507, "The disk is full"), (401, "Open the link that the station printed.")]

    def answer(route: Route) -> None:
        if not refusals:
            return route.continue_()
        status, said = refusals.pop()
        return route.fulfill(status=status, body=said)

    page.route("**/corrections", answer)
    page.locator(".cell[data-seq='1']").focus()
    page.keyboard.press("3")
    expect(page.locator("#unsaved-text")).to_contain_text("was started again: open its new link")
    page.evaluate("station.reviewer = 'Ben'")
    expect(page.locator("#unsaved-text")).to_contain_text("The disk is full. What is marked “not kept yet”")
    expect(page.locator(".cell[data-seq='1']")).to_contain_text("by Anna, was")
    expect(page.locator("#unsaved")).to_be_hidden()


def test_a_label_that_is_made_while_the_page_is_asked_for_is_not_missed(page: Page):
    page.evaluate("""() => {
        const plain = ask, cell = cells.find((known) => known.seq === 2);
        const wish = { seq: 2, sha256: cell.sha256, base: 0, to: "monocyte", by: "Ben" };
        ask = async (path, body) => {
            if (path === "") {
                ask = plain;
                await ask("corrections", wish);
            }
            return plain(path, body);
        };
        station.reviewer = "Anna";
    }""")
    page.locator(".cell[data-seq='1']").focus()
    page.keyboard.press("3")
    expect(page.locator(".cell[data-seq='1']")).to_contain_text("by Anna")
    expect(page.locator(".cell[data-seq='2']")).to_contain_text("by Ben")


@pytest.mark.parametrize("trial", [FieldTrial], indirect=True, ids=["fields"])
def test_fields_come_while_they_are_watched_and_their_cells_are_relabelled_in_them(page: Page, trial: FieldTrial):
    assert page.locator("#field-list .field").count() == 3
    cells = page.locator("#cells .cell").count()
    trial.put(4)
    expect(page.locator("#field-list .field")).to_have_count(4)
    expect(page.locator("#cells .cell")).to_have_count(cells + trial.count_of("00004.jpg"))
    page.evaluate("station.reviewer = 'Anna'")
    page.locator("#field-list .field").last.click()
    page.wait_for_selector("#field[open] #sheet .box")
    page.evaluate("openCell(shownField.cells[0])")
    page.keyboard.press("3")
    expect(page.locator("#facts")).to_contain_text("monocyte, by Anna")
    page.click("#original summary")
    expect(page.locator("#original img")).to_have_js_property("complete", True)
    assert page.locator("#original img").evaluate("image => image.naturalWidth") > 50


def test_facts_are_removed_where_their_fields_are_emptied(page: Page):
    def keep() -> None:
        page.keyboard.press("Enter")
        expect(page.locator("#info")).to_be_hidden()

    page.evaluate("station.reviewer = 'Anna'")
    page.click("#type-facts")
    page.fill("#info [name=sample]", "26-0815")
    page.check("#info [name=white_count_corrected]")
    page.fill("#info [name=white_count]", "7.4")
    keep()
    expect(page.locator("dl.info")).to_contain_text("without nucleated red cells")
    page.click("#type-facts")
    page.fill("#info [name=white_count]", "")
    keep()
    expect(page.locator("dl.info")).not_to_contain_text("White count")
    page.click("#type-facts")
    page.fill("#info [name=sample]", "")
    keep()
    expect(page.locator("#summary")).not_to_contain_text("Typed by")


def test_own_labels_that_are_being_kept_do_not_keep_from_confirming(page: Page):
    page.evaluate("station.reviewer = 'Anna'")
    page.click("#labels button[data-label=eosinophil]")
    see_all(page)
    page.evaluate("() => { relabel(cells.find((cell) => cell.seq === 1), 'monocyte'); confirmInBulk(); }")
    expect(page.locator("#unsaved-text")).to_have_text("2 confirmed.")


def test_ok_cells_are_confirmed_in_bulk_and_the_last_label_is_taken_back(page: Page, trial: Trial):
    page.evaluate("station.reviewer = 'Anna'")
    page.click("#labels button[data-label=eosinophil]")
    expect(page.locator("#bulk")).to_have_text("Confirm all 3 ok cells")
    see_all(page)
    page.click("#bulk")
    expect(page.locator("#unsaved-text")).to_have_text("3 confirmed.")
    expect(page.locator("#bulk")).to_be_hidden()
    page.locator(".cell[data-seq='1']").focus()
    page.keyboard.press("Enter")
    page.fill("#comment", "3 lobes, <b>n</b>")
    page.locator("#comment").press("1")  # no label
    page.keyboard.press("Enter")
    expect(page.locator("#facts")).not_to_contain_text("lobes")
    page.keyboard.press("3")
    expect(page.locator("#facts")).to_contain_text("monocyte, by Anna")
    expect(page.locator("#facts")).to_contain_text("3 lobes, <b>n</b>")
    expect(page.locator("#comment")).to_have_value("")
    page.keyboard.press("Backspace")
    expect(page.locator("#facts")).not_to_contain_text("lobes")
    page.keyboard.press("Escape")
    page.locator(".cell[data-seq='1']").focus()
    page.keyboard.press("Backspace")
    expect(page.locator(".cell:has-text('confirmed by Anna')")).to_have_count(2)
    expect(page.locator("#bulk")).to_have_text("Confirm the ok cell")


def test_a_comment_without_a_label_is_not_lost(page: Page):
    page.evaluate("station.reviewer = 'Anna'")
    first, second, *_ = shown(page)
    open_first = f".cell[data-seq='{first}']"
    page.click(open_first)
    page.fill("#comment", "odd nucleus")
    page.click("#after")
    expect(page.locator("#comment")).to_have_value("")
    said = "The comment on no. {} is kept only with a label: give the cell one."
    expect(page.locator("#unsaved-text")).to_have_text(said.format(first))
    page.click("#discard")  # it is not behind the open cell
    expect(page.locator("#unsaved")).to_be_hidden()
    page.fill("#comment", "another")
    page.keyboard.press("Escape")
    expect(page.locator("#unsaved-text")).to_have_text(
        f"The comments on no. {first}, {second} are kept only with a label: give each cell one."
    )
    page.click(open_first)
    expect(page.locator("#comment")).to_have_value("odd nucleus")
    expect(page.locator("#unsaved-text")).to_have_text(said.format(second))
    page.keyboard.press("Escape")
    with page.expect_event("dialog") as asked:
        page.evaluate("setTimeout(() => location.reload())")
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    page.locator(open_first).focus()
    page.keyboard.press("3")
    expect(page.locator(open_first)).to_contain_text("by Anna")
    page.click(open_first)
    expect(page.locator("#facts")).to_contain_text("odd nucleus")
    expect(page.locator("#comment")).to_have_value("")
    page.click("#after")
    expect(page.locator("#comment")).to_have_value("another")
    page.fill("#comment", "")
    page.keyboard.press("Escape")
    expect(page.locator("#unsaved")).to_be_hidden()


def test_slides_are_found_by_search_state_and_key(page: Page, link: str):
    page.goto(link)
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#count").inner_text() == "1 slide"
    page.keyboard.press("/")
    page.keyboard.type("nothing like it")
    assert page.locator("#count").inner_text() == "0 of 1 slides"
    page.keyboard.press("Escape")
    page.select_option("#state", "signed")
    assert page.locator("#count").inner_text() == "0 of 1 slides"
    page.select_option("#state", "to sign")
    assert page.locator("#count").inner_text() == "1 slide"
    page.locator("#search").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/slides/1/")


def test_pages_say_that_they_are_old_while_the_station_is_away_and_go_on_after_its_new_link(
    chromium: Browser, trial: Trial
):
    context = chromium.new_context()
    listed, page = context.new_page(), context.new_page()
    expect.set_options(timeout=PATIENCE)

    def say(text: str) -> None:
        for one in (listed, page):
            expect(one.locator("#banners")).to_have_text(text)

    with station(trial.out) as link:
        for one in (listed, page):
            one.set_default_timeout(PATIENCE)
            one.goto(link)
            one.wait_for_selector("body[data-ready]")
        address = page.url
        page.click("text=captures")
        page.wait_for_url("**/slides/1/")
        page.wait_for_selector("body[data-ready]")
        say("")
    say("The station does not answer: what you see may be old. Start it again: cartcls review.")
    trial.put(3)
    trial.until_done()
    with station(trial.out, address.strip("/").rpartition(":")[2]) as link:
        assert link.startswith(address)
        say("The station was started again: what you see may be old. Open its new link in this browser, too.")
        expect(listed.locator("#lines")).to_contain_text("of 3")
        context.new_page().goto(link)
        say("")
        expect(listed.locator("#lines")).to_contain_text("of 4")
        expect(page.locator("#cells .cell")).to_have_count(4)
        page.route("**/state?*", lambda route: route.fulfill(status=404, body="There is no such slide."))
        expect(page.locator("#banners")).to_have_text("There is no such slide.")
        context.close()


def test_a_link_in_a_mail_or_on_another_site_leads_in(chromium: Browser, link: str):
    context, address = chromium.new_context(), link.partition("/?token=")[0]
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    context.route("http://mail.example/*", lambda route: route.fulfill(body=mail, content_type="text/html"))
    for target in (link, f"{address}/", f"{address}/slides/1/"):
        mail = f'<a href="{target}">review</a>'
        page.goto("http://mail.example/")
        with page.expect_request(f"{address}/enter"):  # the cookie is not sent
            page.click("text=review")
        page.wait_for_selector("text=captures")
        assert page.url == f"{address}/"
    (cookie,) = context.cookies()
    assert cookie.get("sameSite") == "Strict"
    context.close()


def test_the_token_can_be_typed(chromium: Browser, link: str):
    address, _, token = link.partition("/?token=")
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_url("**/enter?ask")
    page.fill("#token", "a guess")
    page.keyboard.press("Enter")
    expect(page.locator("[role=alert]")).to_contain_text("That is not the token")
    page.fill("#token", token)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=captures")
    assert page.url == f"{address}/"
    context.close()


@pytest.mark.skipif(not (AXE or IN_CI), reason="AXE does not name axe.min.js of the npm package axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_problem(chromium: Browser, link: str, scheme: Literal["light", "dark"]):
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{link.partition('/?')[0]}/enter?ask")
    assert problems(page) == []
    page.goto(link)
    page.wait_for_selector("body[data-ready]")
    assert problems(page) == []
    page.click("text=captures")
    page.wait_for_selector("body[data-ready]")
    assert problems(page) == []
    page.click("#type-facts")
    page.wait_for_selector("#info[open]")
    assert problems(page) == []
    page.keyboard.press("Escape")
    page.locator(".cell").first.focus()
    page.keyboard.press("c")
    page.wait_for_selector("#who[open]")
    assert problems(page) == []
    context.close()


def problems(page: Page) -> list[str]:
    page.evaluate(Path(str(AXE)).read_text(encoding="utf-8"))
    return [violation["id"] for violation in page.evaluate("axe.run()")["violations"]]
