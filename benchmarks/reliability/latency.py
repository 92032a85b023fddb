"""From a file's last write to its row in the table, and in the page, with `cartcls watch` and the shipped model.

    python benchmarks/reliability/latency.py [FILES] [FILES_PER_SECOND] [--fields]

With --fields, the files are whole fields of none to four cells, and the share of finding them is measured too. Nothing
else may run at the same time.
"""

import statistics
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from shared import MPP, Trial, finish, new_trial

from cartcls.runtime import Classifier
from cartcls.runtime.fields.reading import FieldSearch, search_bytes
from cartcls.runtime.images.jpeg import decode_jpeg

QUIET, LIMIT, SOON = 2.0, 1.0, 0.01
REPEATS = 6  # of each picture, for the share of finding


def main(files: int, rate: float, fields: bool) -> None:
    """Write files at a rate, and measure when their rows appear."""
    with new_trial(real=True, fields=fields) as trial:
        command = trial.command()
        as_shipped = [part for place, part in enumerate(command) if not _is_timing(command, place)]
        trial.command = lambda *more: [*as_shipped, *more]
        trial.put(0)
        trial.start()
        trial.until_done()
        rows, page = measure(trial, files, rate)
        problems = trial.stop()
        share = share_of_finding(trial.cells) if fields else None
    problems += ["the median is more than 3 s"] if statistics.median(rows) > QUIET + LIMIT else []
    told = "; ".join(f"in the {name}: {_told(delays)}" for name, delays in (("table", rows), ("page", page)))
    kind = f"fields; finding takes {share:.0%} of the time of a field" if share is not None else "files"
    finish(f"{files} at {rate:g}/s, {kind}; {told}", problems)


def measure(trial: Trial, files: int, rate: float) -> tuple[list[float], list[float]]:
    """Seconds from each file's last write to its row in the table, and in the page."""
    written: dict[str, float] = {}

    def arrive() -> None:
        started = time.monotonic()
        for number in range(1, files + 1):
            trial.put(number)
            written[f"{number:05d}.jpg"] = time.monotonic()
            time.sleep(max(0.0, started + number / rate - time.monotonic()))

    report = trial.out / "captures"
    threading.Thread(target=arrive).start()
    in_table: dict[str, float] = {}
    in_page: dict[str, float] = {}
    while len(in_page) < files:
        now = time.monotonic()
        _note(in_table, written, now, [report / "cells.csv"], ",{},")
        _note(in_page, written, now, (report / "cells").glob("rows-*.js"), '"{}"')
        time.sleep(SOON)
    return [in_table[name] - at for name, at in written.items()], [in_page[name] - at for name, at in written.items()]


def share_of_finding(pictures: list[bytes]) -> float:
    """Share of the time of classifying fields that reading and searching them takes, where each waits for the other."""
    search, fields = FieldSearch(MPP), [decode_jpeg(data) for data in pictures] * REPEATS
    with Classifier(fields=search) as classifier:
        list(classifier.predict(fields[: len(pictures)]))  # the first ones are slower
        started = time.perf_counter()
        for data in pictures * REPEATS:
            search_bytes(data, ".jpg", search)
        finding = time.perf_counter() - started
        started = time.perf_counter()
        for field in fields:
            list(classifier.predict([field]))
        return finding / (time.perf_counter() - started)


def _note(seen: dict[str, float], written: dict[str, float], now: float, files: Iterable[Path], form: str) -> None:
    missing = [name for name in list(written) if name not in seen]
    if missing:
        text = "".join(file.read_text() for file in files)
        seen.update((name, now) for name in missing if form.format(name) in text)


def _is_timing(command: list[str], place: int) -> bool:
    return {"--poll", "--quiet"} & {command[place], command[place - 1]} != set()


def _told(delays: list[float]) -> str:
    most = statistics.quantiles(delays, n=20)[-1]
    return f"median {statistics.median(delays):.2f} s, 95 % within {most:.2f} s, most {max(delays):.2f} s"


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--fields"]
    main(int(given[0]) if given else 300, float(given[1]) if len(given) > 1 else 10.0, "--fields" in sys.argv)
