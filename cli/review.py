"""The command for a station to review at."""

import sys
from typing import Annotated

import typer

from .main import app
from .options import ReportsDir


@app.command()
def review(
    out: ReportsDir,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen.", show_default="a free one")] = 0,
    host: Annotated[
        str, typer.Option(help="Address to listen at: others than this machine's own let the network in.")
    ] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open a browser.")] = False,
) -> None:
    """Review and sign slides in a browser, beside a watch.

    It prints a link to open; whoever has it can review. Each label is kept as it is made. It runs until Ctrl-C or
    SIGTERM.
    """
    import webbrowser

    from ..runtime.station.serve import is_of_this_machine, serve
    from . import show

    def show_link(link: str, once: str) -> None:
        typer.echo(link)
        if not no_open and sys.stdout.isatty():
            webbrowser.open(once)  # all users of the machine can read what a browser is started with

    if not is_of_this_machine(host):
        show.notify(f"the network can reach {host}, and what is sent is not encrypted: use it behind a tunnel (ssh -L)")
    serve(out, host, port, show_link, show.notify)
