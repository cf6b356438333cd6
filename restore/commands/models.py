"""``restore models``: the networks that are known, and those that are here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich import progress as bars
from rich.console import Console
from rich.table import Table

from restore.commands.options import Debug, Json
from restore.console.guard import Guarded, explain_error
from restore.console.words import bytes_text
from restore.errors import InvalidInput, RestoreError
from restore.models.catalog import Role
from restore.models.store import ModelStatus, ModelStore

if TYPE_CHECKING:
    from restore.models.download import Report

__all__ = ["models_app"]

models_app = typer.Typer(cls=Guarded, no_args_is_help=True, help="Networks: list, pull, verify.")

_STYLES = {"embedded": "green", "present": "green", "absent": "dim", "damaged": "bold red"}


def _record(status: ModelStatus) -> dict[str, object]:
    entry = status.entry
    return {
        "name": status.name,
        "role": status.role,
        "state": status.state,
        "detail": status.detail,
        "path": str(status.path),
        "verified": status.verified,
        "architecture": entry.architecture if entry else None,
        "scale": entry.scale if entry else None,
        "rank": entry.rank if entry else None,
        "bytes": (entry.published.size_bytes or None) if entry else None,
        "sha256": (entry.published.sha256 or None) if entry else None,
        "licence": entry.licence if entry else None,
        "commercial_use": entry.commercial_use if entry else None,
        "author": entry.author if entry else None,
        "attribution": entry.attribution if entry else None,
        "notes": entry.notes if entry else None,
        "urls": list(entry.urls) if entry else [],
    }


def _show(statuses: tuple[ModelStatus, ...], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([_record(status) for status in statuses], indent=2) + "\n")
        return
    table = Table()
    for name in ("model", "role", "scale", "state", "size", "licence", "detail"):
        table.add_column(name, overflow="fold", no_wrap=name not in ("licence", "detail"))
    for status in statuses:
        entry = status.entry
        licence = ""
        if entry:
            licence = entry.licence + ("" if entry.commercial_use else ", not commercial")
        table.add_row(
            status.name,
            status.role,
            f"{entry.scale}x" if entry else "?",
            f"[{_STYLES[status.state]}]{status.state}[/]",
            bytes_text(entry.published.size_bytes) if entry and entry.is_hashed else "",
            licence,
            status.detail,
        )
    # In a pipe or a file there is no width to fit into, and a folded name cannot be searched for.
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=width).print(table)


@models_app.command("list")
def list_command(
    role: Annotated[str | None, typer.Option(help="Only this role, such as upscale.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Only those on this machine.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the models of the catalogue and your own, and which are on this machine."""
    statuses = ModelStore().list()
    if role is not None:
        known = sorted({status.role for status in statuses})
        if role not in known:
            raise InvalidInput(f"role {role!r}", f"one of {', '.join(known)}")
        statuses = tuple(status for status in statuses if status.role == role)
    if here:
        statuses = tuple(s for s in statuses if s.state in ("embedded", "present"))
    _show(statuses, as_json=as_json)


@models_app.command("pull")
def pull_command(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or aliases.")],
    debug: Debug = False,
) -> None:
    """Fetch models, check their hashes and convert them; goes on where it was interrupted."""
    store = ModelStore()
    failed = 0
    for name in names:
        try:
            with _Bar() as bar:
                stored = store.pull(name, bar.move)
        except RestoreError as error:
            if len(names) == 1:
                raise
            explain_error(error, name)
            failed += 1
            continue
        sys.stdout.write(f"{stored.name}: {stored.path} ({bytes_text(stored.size_bytes)})\n")
        if stored.attribution:
            sys.stdout.write(f"  {stored.attribution}\n")
    if failed:
        raise typer.Exit(1)


class _Bar:
    """Progress of one pull on standard error."""

    def __init__(self) -> None:
        self._bars = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.DownloadColumn(binary_units=True),
            bars.TransferSpeedColumn(),
            bars.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, bars.TaskID] = {}

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def move(self, report: Report) -> None:
        """Show how far a phase has come."""
        if report.phase not in self._tasks:
            self._tasks[report.phase] = self._bars.add_task(
                f"{report.name}: {report.phase}", total=report.total_bytes
            )
        self._bars.update(
            self._tasks[report.phase], completed=report.done_bytes, total=report.total_bytes
        )


@models_app.command("verify")
def verify_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="All that are here if none.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Hash the weights that are here and compare; exit code 1 where one is damaged or missing."""
    statuses = ModelStore().verify(names or ())
    if not names:
        statuses = tuple(status for status in statuses if status.state != "absent")
    _show(statuses, as_json=as_json)
    if any(status.state in ("damaged", "absent") for status in statuses):
        raise typer.Exit(1)


@models_app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors or .pth file.")],
    name: Annotated[
        str | None, typer.Option("--as", help="Name for a file that the catalogue does not know.")
    ] = None,
    role: Annotated[str, typer.Option(help="What an unknown file is for.")] = "upscale",
    licence: Annotated[str, typer.Option(help="Licence of an unknown file.")] = "unknown",
    attribution: Annotated[str, typer.Option(help="Credit line of an unknown file.")] = "",
    debug: Debug = False,
) -> None:
    """Take in weights that were fetched by hand; the hash says which model it is."""
    roles = get_args(Role)
    if role not in roles:
        raise InvalidInput(f"role {role!r}", f"one of {', '.join(roles)}")
    store = ModelStore()
    stored = store.import_file(file, name, role=role, licence=licence, attribution=attribution)
    known = "known by its hash" if stored.verified else "unknown to the catalogue, unverified"
    if not stored.verified and store.catalog.find(stored.name):
        known = f"known by its name, unverified; its hash is recorded: {stored.source_sha256}"
    sys.stdout.write(f"{stored.name} ({known}): {stored.path}\n")


@models_app.command("path")
def path_command(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The store's folder if none.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Print where a model's weights are, or the folder that holds them."""
    store = ModelStore()
    sys.stdout.write(f"{store.root if name is None else store.path(name)}\n")
