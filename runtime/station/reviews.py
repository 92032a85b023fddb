"""What reviewers do: correct, take back, confirm in bulk, type facts, and sign. Each is in the ledger on return.

Nothing is written but corrections, facts and signatures; the process that writes rows puts them into these.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import msgspec

from ..bundle.bundle import Bundle
from ..errors import CorrectionError
from ..ledger.correction_table import correction_numbers, read_corrections, save_corrections
from ..ledger.records import TAKEN_BACK, Cell, Correction, now
from ..ledger.signatures import digest_of, save_signature
from ..ledger.slide_info import SlideInfo
from ..ledger.slide_ledger import SlideLedger
from ..ledger.typed_facts import TypedFacts, save_typed_facts
from ..reports.corrections import no_comment, no_label, no_name
from .slides import SlideView

Number = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Shown = set[tuple[int, str, str | None]]
"""Cells whose card was in view, each with the digest of its file and the label that it had."""


class Changed(CorrectionError):
    """What a person saw is not what there is now."""


@dataclass(frozen=True)
class Wish:
    """A label that a person gives a cell.

    Attributes:
        seq: Number of the cell.
        sha256: Digest of the file that the person saw.
        base: Number of the last correction that the person knew of; 0 for none.
        to: The label; None to take back the last one.
        by: Name of the person.
        comment: What the person says of it.
    """

    seq: Number
    sha256: str
    base: Number
    to: str | None
    by: str
    comment: str = ""


def correct(slide: SlideLedger, bundle: Bundle, wish: Wish) -> None:
    """Save a correction; one that is there already, because the answer to it was lost, is not saved again.

    Raises:
        Changed: Somebody else has labelled the cell since, or its image has changed.
        CorrectionError: It cannot be corrected, there is no such label or name, or somebody else gave the label that is
            to be taken back.
        OSError: It cannot be written.
    """
    with slide.database.transaction():
        made = read_corrections(slide.database, slide.slide.id, wish.seq)
        cell = slide.present(wish.seq)
        if cell is None:
            raise CorrectionError("there is no such cell")
        numbers = correction_numbers(slide.database, slide.slide.id, wish.seq)
        if numbers[-1] != wish.base:
            if _is_repeated(wish, made, numbers):
                return
            last = made[-1]
            raise Changed(f"{last.corrected_by} has labelled it {last.to_label or 'as the model does'} since")
        if cell.sha256 != wish.sha256:
            raise Changed("its image has changed since: look at the new one")
        if problem := _problem(cell, wish, bundle) or _of_others(wish, made):
            raise CorrectionError(problem)
        to = _label_before(made) if wish.to is None else wish.to
        if to != TAKEN_BACK or cell.corrected_label is not None:
            save_corrections(
                slide.database, slide.slide.id, [replace(_correction(cell, to, wish.by), comment=wish.comment)]
            )


def _problem(cell: Cell, wish: Wish, bundle: Bundle) -> str:
    """Why a cell cannot get a label from a person; empty where it can."""
    if not cell.can_be_corrected:
        return f"it is {cell.status}, and not counted: {cell.reason}"
    return no_name(wish.by) or no_comment(wish.comment) or ("" if wish.to is None else no_label(wish.to, bundle))


def _of_others(wish: Wish, made: Iterable[Correction]) -> str:
    """Why a person cannot take the last label back: others gave it. Empty where that is not so."""
    label, given_by = _labels(made)[-1]
    others = " and ".join(sorted(given_by - {wish.by}))
    if wish.to is not None or label == TAKEN_BACK or not others:
        return ""
    return f"{others} labelled it {label}, which nobody else takes back: give it your own label"


def _is_repeated(wish: Wish, made: Sequence[Correction], numbers: Sequence[int]) -> bool:
    """Whether the last correction is this very one, made after the one that the person knew of."""
    to = _label_before(made[:-1]) if wish.to is None else wish.to
    last = made[-1]
    same = (last.to_label, last.corrected_by, last.comment) == (to, wish.by, wish.comment)
    return numbers[-2:-1] == [wish.base] and same


def _label_before(made: Iterable[Correction]) -> str:
    """The label that a cell has when its last one is taken back."""
    return ([TAKEN_BACK] + [label for label, _ in _labels(made)])[-2]


def _labels(made: Iterable[Correction]) -> list[tuple[str, set[str]]]:
    """What can be taken back, the last one last, each with who gave it; the first is no label."""
    labels = [(TAKEN_BACK, set[str]())]
    for correction in made:
        if len(labels) > 1 and correction.to_label == labels[-2][0]:
            labels.pop()  # to what it was before: that took the last one back
        elif correction.to_label == labels[-1][0]:
            labels[-1][1].add(correction.corrected_by)
        else:
            labels.append((correction.to_label, {correction.corrected_by}))
    return labels


def confirm_in_bulk(view: SlideView, bundle: Bundle, label: str, by: str, shown: Shown) -> int:
    """Confirm all `ok` cells of a class that the person was shown.

    Returns:
        How many.

    Raises:
        Changed: The slide is not as in the view.
        CorrectionError: A person looks at each cell of the class, or the name is none.
        OSError: They cannot be written.
    """
    entry = next((known for known in bundle.classes if known.name == label), None)
    if entry is None or entry.always_review:
        raise CorrectionError(f"{label}: a person looks at each of these cells")
    if problem := no_name(by):
        raise CorrectionError(problem)
    cells = [cell for cell in view.cells if cell.label == label and is_for_bulk(cell) and _seen(cell) in shown]
    with view.ledger.database.transaction():
        _check_unchanged(view)
        made = [_correction(cell, label, by, in_bulk=True) for cell in cells]
        save_corrections(view.ledger.database, view.ledger.slide.id, made)
    return len(cells)


def is_for_bulk(cell: Cell) -> bool:
    """Whether a cell can be confirmed with others."""
    return cell.status == "ok" and cell.corrected_label is None


def note_shown(view: SlideView, cells: Iterable[tuple[int, str]], shown: Shown) -> None:
    """Note cells whose card was in view, by number and label; one that has another label by now was not seen."""
    by_seq = view.by_seq
    shown.update(_seen(cell) for seq, label in cells if (cell := by_seq.get(seq)) and cell.present_label == label)


def not_shown(view: SlideView, shown: Shown) -> Counter[str]:
    """How many cells of each class a person was not shown under their present label."""
    labelled = [cell for cell in view.cells if cell.can_be_corrected]
    return Counter(str(cell.present_label) for cell in labelled if _seen(cell) not in shown)


def why_not_signed(view: SlideView, by: str, shown: Shown) -> list[str]:
    """What keeps a person from signing a slide.

    Args:
        view: The slide.
        by: Name of the person; empty where it is not known.
        shown: What that person was shown.
    """
    titles = {row.name: row.title for row in view.summary.rows}
    summary, missing = view.summary, not_shown(view, shown)
    reasons = []
    if not any(cell.can_be_corrected for cell in view.cells):
        reasons.append("there is no cell")
    if summary.awaiting_review:
        reasons.append(_many(summary.awaiting_review, "cell awaits", "cells await") + " review")
    if summary.waiting:
        reasons.append(_many(summary.waiting, "image waits", "images wait") + " to be classified")
    if not by:
        reasons.append("nobody has said who signs: press the button beside “Reviewer”")
    elif missing:
        counts = ", ".join(f"{count} {titles.get(label, label)}" for label, count in missing.most_common())
        reasons.append(f"not shown to you, so scroll through them: {counts}")
    return reasons


def sign(view: SlideView, by: str, shown: Shown) -> None:
    """Sign a slide.

    Raises:
        Changed: The slide is not as in the view.
        CorrectionError: It cannot be signed now, the name is none, or the person has signed it already.
        OSError: It cannot be written.
    """
    valid = [made for made in view.summary.signatures if not made.is_void]
    reasons = [no_name(by)] if no_name(by) else why_not_signed(view, by, shown)
    if by in (made.signer for made in valid):
        reasons = [f"{by} has signed it already: a second signer is somebody else"]
    elif len(valid) > 1:
        reasons = ["it has two signatures"]
    if reasons:
        raise CorrectionError("; ".join(reasons))
    with view.ledger.database.transaction():
        _check_unchanged(view)
        save_signature(view.ledger, by, now(), digest_of(view.ledger))


def type_facts(view: SlideView, by: str, info: bytes | memoryview) -> None:
    """Save what a person typed of a slide, where it is something else than what counts already.

    Where it says nothing, what was typed before is removed.

    Args:
        view: The slide as the person saw it.
        by: Name of the person.
        info: JSON of a `SlideInfo`.

    Raises:
        Changed: The slide is not as in the view.
        CorrectionError: A fact cannot be right, or the name is none.
        OSError: It cannot be written.
    """
    if problem := no_name(by):
        raise CorrectionError(problem)
    try:
        told = msgspec.json.decode(info, type=SlideInfo)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorrectionError(str(error)) from None
    with view.ledger.database.transaction():
        _check_unchanged(view)
        if told != (view.ledger.info() or SlideInfo()):
            if told == SlideInfo() and view.ledger.typed() is None:
                raise CorrectionError("slide.toml in the slide's folder says this: change it there")
            save_typed_facts(view.ledger.database, view.ledger.slide.id, TypedFacts(told, by, now()))


def _check_unchanged(view: SlideView) -> None:
    if view.ledger.revision() != view.revision:
        raise Changed("the slide has changed since you saw it: look again")


def _correction(cell: Cell, to: str, by: str, in_bulk: bool = False) -> Correction:
    sha256, before = str(cell.sha256), str(cell.present_label)
    return Correction(cell.seq, sha256, before, to, by, now(), cell.box, in_bulk=in_bulk)


def _seen(cell: Cell) -> tuple[int, str, str | None]:
    return cell.seq, cell.sha256 or "", cell.present_label


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
