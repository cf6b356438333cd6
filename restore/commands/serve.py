"""``restore serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from restore.commands.options import Debug

__all__ = ["serve_command"]


def serve_command(
    config: Annotated[
        Path | None, typer.Option(help="Settings as TOML; the environment goes over them.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="host:port to listen on.")] = None,
    storage: Annotated[
        Path | None, typer.Option(help="Folder for the journal, uploads and deliverables.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="auto, cpu, cuda:N; one worker for each.")
    ] = None,
    dev: Annotated[bool, typer.Option("--dev", help="Reflection, for looking around.")] = False,
    debug: Debug = False,
) -> None:
    """Serve restoration over gRPC: live frames, durable jobs, transfers.

    Beyond loopback TLS and tokens (or client certificates) are required.
    """
    from restore.service.serve import serve
    from restore.service.settings import load_settings

    settings = load_settings(
        config,
        address=address,
        storage=storage,
        devices=tuple(device) if device else None,
        dev=dev or None,
    )
    code = serve(settings)
    if code:
        raise typer.Exit(code)
