"""One place where exceptions of any command become a message and an exit code."""

from __future__ import annotations

import traceback
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from restore.errors import Cancelled, RestoreError

__all__ = ["Guarded", "explain_bug", "explain_error", "named", "set_debug", "wants_debug"]

_BUG_EXIT = 1
_debug = False


def set_debug(wanted: bool) -> bool:
    """Remember whether tracebacks are wanted; once said anywhere on the line, it holds."""
    global _debug
    _debug = _debug or wanted
    return wanted


def wants_debug() -> bool:
    """Whether tracebacks are wanted."""
    return _debug


def named(text: str, about: str) -> str:
    """The text headed by what it is about, unless it says so itself."""
    return text if not about or about in text else f"{about}: {text}"


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def explain_error(error: RestoreError, about: str = "") -> None:
    """Say on standard error what went wrong: one message, the traceback only with ``--debug``."""
    console = _console()
    if isinstance(error, Cancelled):
        console.print(Text("stopped", style="bold yellow") + Text(f": {error}", style="default"))
    else:
        prefix = Text("error", style="bold red") + Text(": ", style="default")
        console.print(prefix + Text(named(str(error), about), style="default"))
    _trace(console, error)


def explain_bug(error: Exception, about: str = "") -> None:
    """Say on standard error that something went wrong that nobody foresaw."""
    console = _console()
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    prefix = Text("error", style="bold red") + Text(": ", style="default")
    console.print(prefix + Text(named(what, about), style="default"))
    if not _debug:
        console.print("This is a bug. Please report it, with what --debug prints.", markup=False)
    _trace(console, error)


def _trace(console: Console, error: BaseException) -> None:
    if _debug:
        console.print("".join(traceback.format_exception(error)), markup=False, end="")


class Guarded(TyperGroup):
    """A group of commands whose errors end as messages: exit 1, 2 for wrong input, 130 stopped."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  the library's own signature
        """Run the command that was asked for."""
        global _debug
        if ctx.parent is None:
            _debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except RestoreError as error:
            explain_error(error)
            raise typer.Exit(error.exit_code) from error
        except Exception as error:
            # The library's own exits and usage errors pass, and so does a closed output pipe.
            if type(error).__module__.split(".")[0] in ("typer", "click") or isinstance(
                error, BrokenPipeError
            ):
                raise
            explain_bug(error)
            raise typer.Exit(_BUG_EXIT) from error
