"""The station in a browser: how one comes in, its list of slides, and what is said while it is away."""

import os
from pathlib import Path
from typing import Literal

import pytest
from browsing import IN_CI
from playwright.sync_api import Browser, Page, expect
from staging import PATIENCE, station
from trial import Trial

AXE = os.environ.get("AXE")  # axe.min.js of the npm package axe-core


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
