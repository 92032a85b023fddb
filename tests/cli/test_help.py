import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from cartcls.cli import app

WIDTH = 78  # of the text, in a terminal of 80


def commands(group: object = None, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    group = group or get_command(app)
    assert isinstance(group, TyperGroup)
    for name, command in group.commands.items():
        yield (*words, name)
        if not isinstance(command, TyperCommand):
            yield from commands(command, (*words, name))


def help_of(words: tuple[str, ...]) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("words", [(), *commands()], ids=" ".join)
def test_help_names_arguments_as_its_text_does_and_is_whole(words: tuple[str, ...]):
    text = help_of(words)
    usage = re.sub(r"^Usage:.*?\[OPTIONS\]", "", text.partition("\n\n")[0], flags=re.DOTALL)
    assert re.fullmatch(r"[A-Z_.|\[\]{}\s]*", usage), usage  # no Python name
    assert not re.search(r"\[\[|\.\}|\]\]", usage), usage
    assert "<bool>" not in text
    assert not re.search(r"\w\.\.\.$", text, re.MULTILINE), text  # no sentence is cut off in the list of commands
    assert set(re.findall(r"\b[A-Z]+_DIR\b", text)) <= set(re.findall(r"[A-Z]+_DIR", usage)) | {"RUN_DIR"}


@pytest.mark.parametrize("words", [*commands()], ids=" ".join)
def test_paragraphs_of_the_help_fill_their_lines(words: tuple[str, ...]):
    about = re.split(r"\n\n(?=Arguments|Options|Commands)", help_of(words))[0]
    for paragraph in about.split("\n\n")[1:]:
        lines = [line.strip() for line in paragraph.splitlines()]
        for line, following in pairwise(lines):
            assert len(line) + 1 + len(following.split()[0]) > WIDTH - 2, paragraph


def test_help_says_what_is_read_and_what_belongs_together():
    about = " ".join(help_of(("batch",)).split())
    assert "JPEG, PNG, BMP, TIFF or WebP" in about
    assert "needed with CORRECTIONS.CSV" in " ".join(help_of(("correct",)).split())
