from pathlib import Path

import jinja2
import pytest

from cartcls.runtime.compiled_store import CompiledStore
from cartcls.runtime.reports.compiled_templates import CompiledTemplates, environment

TEXT = {"page.html": "<p>{{ name }}</p>"}


def rendered(folder: Path, text: str = TEXT["page.html"]) -> str:
    cache = CompiledTemplates(CompiledStore(folder, kept=2))
    made = jinja2.Environment(loader=jinja2.DictLoader({"page.html": text}), autoescape=True, bytecode_cache=cache)
    return made.get_template("page.html").render(name="<b>")


def test_a_template_is_compiled_once_and_again_when_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert rendered(tmp_path) == "<p>&lt;b&gt;</p>"
    with monkeypatch.context() as uncompiled:
        uncompiled.delattr(jinja2.Environment, "_compile")
        assert rendered(tmp_path) == "<p>&lt;b&gt;</p>"
    assert rendered(tmp_path, "<i>{{ name }}</i>") == "<i>&lt;b&gt;</i>"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_altered_file_is_not_loaded(tmp_path: Path):
    rendered(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for altered in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:40], b""):
        file.write_bytes(altered)
        assert rendered(tmp_path) == "<p>&lt;b&gt;</p>"
        assert file.read_bytes() == whole


def test_where_nothing_can_be_kept_pages_are_made_all_the_same():
    assert rendered(Path("/proc/nowhere")) == "<p>&lt;b&gt;</p>"


def test_the_packages_templates_escape_and_miss_nothing():
    made = environment()
    assert made.from_string("{{ name }}").render(name="<b>") == "&lt;b&gt;"
    with pytest.raises(jinja2.UndefinedError):
        made.from_string("{{ missing }}").render()
