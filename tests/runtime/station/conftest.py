from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import Browser
from reviewer import classify, make_slide

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import review_ledger
from cartcls.runtime.station.desk import Desk


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of a slide of eight cells, a duplicate and a file that is no image."""
    return classify(make_slide(slide, tmp_path / "slide"), bundle)


@pytest.fixture
def browser(out: Path) -> Iterator[Browser]:
    """A browser that was let in."""
    with review_ledger(out) as (ledger, bundle):
        made = Browser(Desk(out, ledger, bundle))
        made.enter()
        yield made
