"""Slides are signed by who has seen their cells."""

from pathlib import Path

from asking import Browser, label, revision, see, sign


def test_a_slide_is_signed_by_two_who_have_seen_it(browser: Browser, out: Path):
    assert sign(browser.client).status_code == 422
    assert see(browser.client) == []
    assert sign(browser.client, by="").status_code == 422
    assert sign(browser.client).status_code == 200
    assert "already" in sign(browser.client).text
    other = browser.another()
    browser.enter(other)
    for client, signer in ((browser.client, "Ben"), (other, "Anna"), (other, "Ben")):
        refusals = client.get("/slides/1/state", params={"by": signer}).json()["refusals"]
        assert refusals == ["not shown to you, so scroll through them: 8 eosinophil"]
        if signer != "Anna":
            assert sign(client, signer).text == refusals[0]
    see(other, "Ben")
    assert "not shown to you" in sign(browser.client, "Ben").text
    assert sign(other, "Ben").status_code == 200
    see(other, "Cleo")
    assert "two signatures" in sign(other, "Cleo").text
    page = browser.client.get("/slides/1/").text
    assert "Signed.</b> Anna" in page and "Signed by a second person.</b> Ben" in page
    assert label(browser.client, 1, "monocyte").status_code == 200
    assert browser.client.get("/slides/1/").text.count("Signature void") == 2
    assert "signature void" in browser.client.get("/").text


def test_what_is_shown_is_shown_to_somebody(browser: Browser):
    said = "nobody has said who signs: press the button beside “Reviewer”"
    assert browser.client.get("/slides/1/state").json()["refusals"] == [said]
    for name in ("", "=cmd", "x" * 61):
        answer = browser.client.post("/slides/1/shown", json={"by": name, "cells": [[1, "eosinophil"]]})
        assert (answer.status_code, "is not a name" in answer.text) == (422, True)


def test_a_slide_is_not_signed_while_a_cell_awaits_review(browser: Browser):
    label(browser.client, 1, "unsure")
    assert see(browser.client) == ["1 cell awaits review"]
    assert sign(browser.client).text == "1 cell awaits review"
    label(browser.client, 1, "eosinophil")
    assert "not shown" not in " ".join(see(browser.client))
    assert sign(browser.client).status_code == 200


def test_a_slide_is_signed_as_it_was_seen(browser: Browser):
    before = revision(browser.client)
    see(browser.client)
    label(browser.client, 1, "eosinophil")
    answer = browser.client.post("/slides/1/signatures", json={"by": "Anna", "revision": before})
    assert (answer.status_code, "has changed since" in answer.text) == (409, True)


def test_a_cell_that_was_relabelled_since_was_not_shown(browser: Browser):
    see(browser.client)
    label(browser.client, 1, "monocyte")
    assert sign(browser.client).text == "not shown to you, so scroll through them: 1 monocyte"
