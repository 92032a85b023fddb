import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from cartcls.cli import app
from cartcls.runtime.console import EXIT_BACKEND, EXIT_PARITY

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("runtime/bundles/*/*.md")]
MANUAL = [page for page in PAGES if page.name not in ("CHANGELOG.md", "MODEL_CARD.md")]  # those also name what is gone


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def find_command(words: list[str]) -> tuple[TyperCommand, list[str]]:
    """The command that the first words name, and the words after them."""
    command, rest = get_command(app), list(words)
    while isinstance(command, TyperGroup):
        assert rest and rest[0] in command.commands, f"there is no `cartcls {' '.join(words)}`"
        command = command.commands[rest.pop(0)]
    assert isinstance(command, TyperCommand)
    return command, rest


def options(command: object) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for inner in command.commands.values():
            yield from options(inner)
    elif isinstance(command, TyperCommand):
        yield from (name for parameter in command.params for name in parameter.opts)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path):
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_every_command_line_can_be_typed(page: Path):
    lines = re.findall(r"^ {4,}(?:\S*/)?cartcls ([a-z].*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    for line in lines:
        command, arguments = find_command(shlex.split(line, comments=True))
        command.make_context(line, arguments)  # a usage error where an option is unknown, or something is missing


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_every_command_and_option_in_the_text_exists(page: Path):
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"`cartcls ([a-z][^`]*)`", text):
        command, rest = find_command(code.split())
        assert {word for word in rest if word.startswith("--")} <= set(options(command)), code
    alone = set(re.findall(r"`(--[a-z0-9-]+)[^`]*`", text))
    assert alone <= set(options(get_command(app)))


def test_the_lines_for_python_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(ROOT)
    exec(compile(code, "docs/python.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.startswith("cell-01.jpg neutrophil 0.9")
    assert len(re.findall(r"^cell-\d\d\.jpg ", said, re.MULTILINE)) == 32


def test_the_unit_does_not_start_again_what_only_a_person_can_mend():
    unit = (ROOT / "docs" / "watch.md").read_text(encoding="utf-8")
    assert "Restart=always" in unit
    assert f"RestartPreventExitStatus={EXIT_BACKEND} {EXIT_PARITY}\n" in unit
