import pytest

from cartcls.runtime.console import run
from cartcls.runtime.errors import BackendError, BundleError, CartclsError, ParityError, UsageError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CartclsError("it failed"), 1),
        (BundleError("it failed"), 1),
        (BackendError("it failed"), 4),
        (ParityError("it failed"), 5),
        (UsageError("it failed"), 2),
    ],
)
def test_each_error_has_its_exit_code(error: CartclsError, code: int, capsys: pytest.CaptureFixture[str]):
    def app() -> None:
        raise error

    with pytest.raises(SystemExit) as exit:
        run(app)
    assert exit.value.code == code
    assert capsys.readouterr().err == "error: it failed\n"


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]):
    def app() -> None:
        raise CartclsError("slide \x1b[31m\n\udcff is not a folder")

    with pytest.raises(SystemExit):
        run(app)
    assert capsys.readouterr().err == "error: slide \\x1b[31m\\n\\udcff is not a folder\n"


@pytest.mark.parametrize(("module", "extra"), [("torch", "train,export"), ("sklearn", "calibration")])
def test_a_missing_extra_is_named_and_a_bug_is_not_hidden(module: str, extra: str, capsys: pytest.CaptureFixture[str]):
    def app() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    with pytest.raises(SystemExit):
        run(app)
    assert capsys.readouterr().err == f"error: {module} is not installed: pip install 'cartcls[{extra}]'\n"
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)
