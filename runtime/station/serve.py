"""Runs the station until it is stopped."""

import ipaddress
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from ..errors import OutputError
from ..ledger.folder import review_ledger
from ..slides.service import Stop
from .access import Hosts, Sessions
from .app import application
from .desk import Desk
from .projections import find_due, write_reports

SHUTDOWN = 3  # seconds that a browser may take to end what it asked for
EVERY = 2.0  # seconds between two attempts to write reports that are due


def serve(out: Path, host: str, port: int, show: Callable[[str, str], None], notify: Callable[[str], None]) -> None:
    """Serve the pages of the station until SIGTERM or SIGINT.

    Args:
        out: Folder of reports.
        host: Address to listen at.
        port: Port to listen at; 0 for one that is free.
        show: Called with the link once it can be opened, and with one that works once.
        notify: Called with messages for the user.

    Raises:
        OutputError: There are no reports, or nothing can listen there.
    """
    stop = Stop()
    with review_ledger(out) as (ledger, bundle), _listening(host, port) as listener, stop.on_signals():
        port = listener.getsockname()[1]
        sessions, desk = Sessions(port), Desk(out, ledger, bundle)
        desk.due |= find_due(ledger, out)
        server = uvicorn.Server(
            uvicorn.Config(
                application(desk, sessions, Hosts(host, port)),
                lifespan="off",
                ws="none",
                log_level="error",  # a warning is of what a stranger asks for, such as a web socket
                access_log=False,  # a link with the token would be in it
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN,
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)  # signals are this thread's
        thread.start()
        shown = f"[{host}]" if ":" in host else host
        link = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else shown}:{port}/?token="
        show(link + sessions.token, link + sessions.ticket())
        while not stop() and thread.is_alive():
            stop.wait(EVERY)
            write_due(desk, notify)
        server.should_exit = True
        thread.join()
        write_due(desk, notify)


def write_due(desk: Desk, notify: Callable[[str], None]) -> None:
    """Write reports that are due; what keeps them from being written is told once, and stands on the pages."""
    if not desk.due:
        return
    problem = ""
    try:
        write_reports(desk)
    except (OSError, OutputError) as error:
        why = (isinstance(error, OSError) and error.strerror) or error
        problem = f"Reports in {desk.out} cannot be written now: {why}; labels are in the ledger"
        if problem != desk.problem:
            notify(problem)
    desk.problem = problem


def is_of_this_machine(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OutputError(f"nothing can listen at {host}, port {port}: {error.strerror}; name another --port") from None
