import json
import subprocess
import sys
from pathlib import Path

from reviewer import classify, make_slide

from cartcls.runtime.bundle.bundle import Bundle


def run(*arguments: object) -> tuple[int, bytes, str]:
    command = [sys.executable, "-m", "cartcls.cli", "hand-over", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def test_data_go_to_stdout_and_what_lacks_is_one_line(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = make_slide(slide, tmp_path / "slide")
    out = classify(folder, bundle)
    code, said, warned = run(out, "--slide", "slide")
    assert (code, said) == (1, b"")
    assert warned.startswith("error: slide has no sample identifier") and warned.count("\n") == 1
    (folder / "slide.toml").write_text('sample = "1"', encoding="utf-8")
    classify(folder, bundle)
    code, said, _ = run(out, "--slide", "slide")
    assert code == 0 and json.loads(said)["resourceType"] == "Bundle" and b"HTEST" in said
    code, said, _ = run(out, "--slide", "slide", "--not-test")
    assert code == 0 and b"HTEST" not in said
    code, said, _ = run(out, "--slide", "slide", "--format", "csv")
    assert code == 0 and said.decode("utf-8-sig").splitlines()[1].startswith("1,,slide,partial,")
    assert run(out, "--slide", "slide", "--format", "hl7")[0] == 2
