"""Labels and comments that reviewers give at the station."""

from browsing import shown
from playwright.sync_api import Browser, Page, Route, expect
from staging import PATIENCE, see_all
from trial import Trial


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
    for always in ("true", "false"):
        page.evaluate(f"() => {{ classOf.get('eosinophil').alwaysReview = {always}; showBulk(); }}")
        assert page.locator("#bulk").is_hidden() == (always == "true")
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
