"""The station's web application: what is asked for where, and what is answered."""

import errno
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ..errors import CorrectionError, ImageError
from ..ledger.records import field_picture
from ..reports.corrections import no_name
from ..reports.page import DATA
from ..reports.page_data import fields_of, maps_of, script_of
from ..reports.table import CSV, whole_table
from . import pages
from .access import ENTER, MAX_BODY, Access, Hosts, Sessions, TooLarge
from .desk import Desk
from .originals import original
from .reviews import Changed, Number, Wish, confirm_in_bulk, correct, note_shown, sign, type_facts, why_not_signed
from .slides import SlideView

Body = TypeVar("Body")
ASK = "ask"  # for the token, in the query of `ENTER`
CODES = {errno.EBUSY: 503, errno.ENOSPC: 507, errno.EDQUOT: 507}


class Count(Convertor[int]):
    """A number in a path: of up to nine digits, and no sign."""

    regex = "[0-9]{1,9}"

    def convert(self, value: str) -> int:
        """The number that a text is."""
        return int(value)

    def to_string(self, value: int) -> str:
        """The text of a number."""
        return str(value)


register_url_convertor("count", Count())


class Shown(msgspec.Struct, forbid_unknown_fields=True):
    """Cells whose card came into view, by number and label, and of whom."""

    by: str
    cells: list[tuple[Number, str]]


class Bulk(msgspec.Struct, forbid_unknown_fields=True):
    """All `ok` cells of a class are to be confirmed."""

    label: str
    by: str
    revision: str


class Sign(msgspec.Struct, forbid_unknown_fields=True):
    """A slide is to be signed as it was seen."""

    by: str
    revision: str


class Facts(msgspec.Struct, forbid_unknown_fields=True):
    """What a person typed of a slide as it was seen."""

    by: str
    revision: str
    info: msgspec.Raw


class Station:
    """Answers what the pages of the station ask for."""

    def __init__(self, desk: Desk, sessions: Sessions):
        self._desk, self._sessions = desk, sessions

    def routes(self) -> list[Route]:
        """What is asked for where; a slide is named by its number in the ledger, a cell by its number on the slide."""
        of_slide = {
            "": self._slide,
            "state": self._state,
            "rows/{number:count}": self._rows,
            f"{DATA}/{{kind}}-{{number:count}}.js": self._data,
            "thumbnails/{seq:count}.jpg": self._thumbnail,
            "fields/{seq:count}.jpg": self._field,
            "originals/{seq:count}.png": self._original,
            CSV: self._table,
        }
        posts = {
            "corrections": self._correct,
            "shown": self._show,
            "bulk": self._bulk,
            "facts": self._tell,
            "signatures": self._sign,
        }
        return [
            Route("/", self._worklist),
            Route("/revision", self._revision),
            Route(ENTER, self._enter),
            Route(ENTER, self._let_in, methods=["POST"]),
            *(Route(f"/slides/{{slide:count}}/{path}", act) for path, act in of_slide.items()),
            *(Route(f"/slides/{{slide:count}}/{path}", act, methods=["POST"]) for path, act in posts.items()),
        ]

    def _worklist(self, request: Request) -> Response:
        token = request.query_params.get("token")
        if token is None and self._sessions.of(request.headers):
            return HTMLResponse(pages.worklist(self._desk))
        return self._begin() if self._sessions.lets_in(token or "") else RedirectResponse(ENTER, 303)

    def _revision(self, request: Request) -> Response:
        return PlainTextResponse(self._desk.revision())

    def _enter(self, request: Request) -> Response:
        """Ask for the token, but not before the station's own page has asked: only then is the cookie sent."""
        if self._sessions.of(request.headers):
            return RedirectResponse("/", 303)
        return HTMLResponse(pages.enter() if ASK in request.query_params else pages.come_again(f"{ENTER}?{ASK}"))

    async def _let_in(self, request: Request) -> Response:
        given = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=4).get("token", [""])[0]
        return self._begin() if self._sessions.is_token(given.strip()) else HTMLResponse(pages.enter(wrong=True), 401)

    def _begin(self) -> Response:
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._sessions.cookie, self._sessions.begin(), httponly=True, samesite="strict")
        return answer

    def _slide(self, request: Request) -> Response:
        number = request.path_params["slide"]
        with self._desk.view(number) as view:
            if view is None:
                return _no_slide()
            return HTMLResponse(pages.slide_page(self._desk, view))

    def _state(self, request: Request) -> Response:
        by = request.query_params.get("by", "")
        return self._of_view(request, lambda view: pages.state(self._desk, view, by, self._shown(request, by)))

    def _rows(self, request: Request) -> Response:
        return self._of_view(request, lambda view: view.rows(request.path_params["number"]))

    def _of_view(self, request: Request, make: Callable[[SlideView], object]) -> Response:
        with self._desk.view(request.path_params["slide"]) as view:
            return _no_slide() if view is None else JSONResponse(make(view))

    def _data(self, request: Request) -> Response:
        kind, number = request.path_params["kind"], request.path_params["number"]
        with self._desk.view(request.path_params["slide"]) as view:
            if view is None or kind not in ("rows", "maps", "fields"):
                return _no_slide()
            data: object = view.rows(number) if kind == "rows" else maps_of(view.ledger, number)
            if kind == "fields":
                data = fields_of(view.ledger.fields(), {cell.seq for cell in view.cells}).get(number, [])
        return Response(script_of(kind, data), media_type="text/javascript")

    def _thumbnail(self, request: Request) -> Response:
        return self._picture(request, f"thumbnails/{request.path_params['seq']:06d}.jpg")

    def _field(self, request: Request) -> Response:
        return self._picture(request, field_picture(request.path_params["seq"]))

    def _picture(self, request: Request, name: str) -> Response:
        with self._desk.slide(request.path_params["slide"]) as slide:
            file = slide and self._desk.out / slide.slide.name / name
        if file is None or any(part.is_symlink() for part in (file, *file.parents[:2])) or not file.is_file():
            return PlainTextResponse("There is no such picture.", 404)
        return FileResponse(file, media_type="image/jpeg")

    def _original(self, request: Request) -> Response:
        with self._desk.slide(request.path_params["slide"]) as slide:
            if slide is None:
                return _no_slide()
            try:
                return Response(original(slide, request.path_params["seq"]), media_type="image/png")
            except ImageError as error:
                return PlainTextResponse(f"There is no original: it {error}.", 404)

    def _table(self, request: Request) -> Response:
        with self._desk.slide(request.path_params["slide"]) as slide:
            if slide is None or slide.last_run() is None:
                return _no_slide()
            data = whole_table(slide, self._desk.bundle)
        return Response(data, media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{CSV}"'})

    async def _correct(self, request: Request) -> Response:
        return await _answer(request, Wish, self._apply)

    def _apply(self, request: Request, wish: Wish) -> Response:
        number, changed = request.path_params["slide"], ""
        with self._desk.slide(number) as slide:
            if slide is None:
                return _no_slide()
            try:
                correct(slide, self._desk.bundle, wish)
                self._desk.due.add(number)
            except Changed as error:
                changed = str(error)
        with self._desk.view(number) as view:
            cell = view and view.by_seq.get(wish.seq)
            row = view.row(cell) if view and cell else None
        return JSONResponse({"said": changed, "row": row}, 409 if changed else 200)

    async def _show(self, request: Request) -> Response:
        return await _answer(request, Shown, self._note)

    def _note(self, request: Request, told: Shown) -> Response:
        if problem := no_name(told.by):
            raise CorrectionError(problem)
        shown = self._shown(request, told.by)
        with self._desk.view(request.path_params["slide"]) as view:
            if view is None:
                return _no_slide()
            note_shown(view, told.cells, shown)
            return JSONResponse({"refusals": why_not_signed(view, told.by, shown)})

    async def _bulk(self, request: Request) -> Response:
        return await _answer(request, Bulk, self._confirm)

    def _confirm(self, request: Request, wish: Bulk) -> Response:
        def confirm(view: SlideView) -> object:
            shown = self._shown(request, wish.by)
            return {"confirmed": confirm_in_bulk(view, self._desk.bundle, wish.label, wish.by, shown)}

        return self._on_what_was_seen(request, wish.revision, confirm)

    async def _tell(self, request: Request) -> Response:
        return await _answer(request, Facts, self._keep_facts)

    def _keep_facts(self, request: Request, told: Facts) -> Response:
        def keep(view: SlideView) -> object:
            type_facts(view, told.by, told.info)
            return {}

        return self._on_what_was_seen(request, told.revision, keep)

    async def _sign(self, request: Request) -> Response:
        return await _answer(request, Sign, self._put_name)

    def _put_name(self, request: Request, wish: Sign) -> Response:
        def put_name(view: SlideView) -> object:
            sign(view, wish.by, self._shown(request, wish.by))
            return {}

        return self._on_what_was_seen(request, wish.revision, put_name)

    def _on_what_was_seen(self, request: Request, revision: str, act: Callable[[SlideView], object]) -> Response:
        with self._desk.view(request.path_params["slide"]) as view:
            if view is None:
                return _no_slide()
            try:
                if view.revision != revision:
                    raise Changed("the slide has changed since you saw it: look again")
                made = act(view)
            except Changed as error:
                return JSONResponse({"said": str(error)}, 409)
            self._desk.due.add(request.path_params["slide"])
            return JSONResponse(made)

    def _shown(self, request: Request, by: str) -> set[tuple[int, str, str | None]]:
        return self._desk.shown(self._sessions.of(request.headers), by, request.path_params["slide"])


def application(desk: Desk, sessions: Sessions, hosts: Hosts) -> Starlette:
    """The web application.

    Args:
        desk: The ledger.
        sessions: Who was let in.
        hosts: Under which names it is asked for.
    """
    middleware = [Middleware(Access, sessions=sessions, hosts=hosts)]
    return Starlette(
        routes=Station(desk, sessions).routes(),
        middleware=middleware,
        exception_handlers={CorrectionError: _refused, OSError: _not_written, TooLarge: _too_large},
    )


async def _answer(request: Request, kind: type[Body], act: Callable[[Request, Body], Response]) -> Response:
    """Decode the body of a request, and act on it in a thread."""
    try:
        body = msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return PlainTextResponse(f"This is not what the station understands: {error}", 400)
    return await run_in_threadpool(act, request, body)


async def _refused(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 422)


async def _not_written(request: Request, error: Exception) -> Response:
    number = error.errno if isinstance(error, OSError) else None
    return PlainTextResponse(f"It cannot be written: {error}", CODES.get(number or 0, 500))


async def _too_large(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"A request may have {MAX_BODY} bytes.", 413)


def _no_slide() -> Response:
    return PlainTextResponse("There is no such slide: it was started anew, or never there.", 404)
