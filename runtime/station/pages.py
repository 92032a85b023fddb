"""The pages of the station."""

from collections.abc import Sequence

import msgspec

from ..ledger.slide_info import SlideInfo
from ..reports.page import render, render_page
from ..reports.page_data import ROW_FIELDS
from .desk import Desk
from .reviews import Shown, why_not_signed
from .slides import SlideView

STATES = ("to review", "to sign", "signed", "void", "alarm", "rejected", "arriving")


def worklist(desk: Desk) -> str:
    """The page of all slides."""
    return render(
        "worklist.html",
        (),
        scripts=("worklist.js", "station.js"),
        live=True,
        lines=desk.lines(),
        states=STATES,
        banners=desk.banners(),
        revision=desk.revision(),
        folder=desk.out.resolve().name,
    )


def enter(wrong: bool = False) -> str:
    """The page that asks for the token."""
    return render("enter.html", (), live=True, wrong=wrong)


def come_again(address: str) -> str:
    """The page that asks for another one at once, as a page of this station: what another site opens has no cookie."""
    return render("come_again.html", (), live=True, address=address)


def slide_page(desk: Desk, view: SlideView) -> str:
    """The page of a slide."""
    info = msgspec.to_builtins(view.summary.info or SlideInfo())
    live = {**state(desk, view, "", set()), "live": True, "fields": [*ROW_FIELDS, "base"], "info": info}
    own = list(view.ledger.cells()) if view.summary.alarm else None
    report, has_maps = view.ledger.slide.report, view.ledger.has_maps()
    return render_page(desk.bundle, report, view.cells, view.summary, has_maps, own, live)


def state(desk: Desk, view: SlideView, by: str, shown: Shown) -> dict[str, object]:
    """What the page of a slide asks for again and again.

    Args:
        desk: The ledger.
        view: The slide.
        by: Name of the person who looks at it; empty where it is not known.
        shown: What that person was shown.
    """
    return {
        "revision": view.revision,
        "chunks": view.digests,
        "banners": [*desk.banners(), *_alarm(view)],
        "refusals": why_not_signed(view, by, shown),
    }


def _alarm(view: SlideView) -> Sequence[str]:
    if not view.summary.alarm or view.summary.review_complete:
        return ()
    return (f"Alarm: this slide is unlike home ({view.summary.alarm}), and every cell is for review",)
