"""The command line: ``restore run | analyse | probe | models | presets | stages | demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from restore import __version__
from restore.commands.analyse import analyse_command
from restore.commands.demo import demo_command
from restore.commands.diff import diff_command
from restore.commands.generate import animate_command, generate_command
from restore.commands.lora import lora_app
from restore.commands.models import models_app
from restore.commands.presets import presets_command, stages_command
from restore.commands.probe import probe_command
from restore.commands.run import run_command
from restore.commands.serve import serve_command
from restore.commands.version import version_command
from restore.console.guard import Guarded
from restore.hostenv import tune_host

__all__ = ["app", "main"]

app = typer.Typer(
    name="restore",
    cls=Guarded,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Restore film: de-artifact, upscale and deliver clips with colour, timing and sound kept.",
)
app.command("run", no_args_is_help=True)(run_command)
app.command("analyse", no_args_is_help=True)(analyse_command)
app.command("probe", no_args_is_help=True)(probe_command)
app.command("diff", no_args_is_help=True)(diff_command)
app.add_typer(models_app, name="models")
app.command("generate", no_args_is_help=True)(generate_command)
app.command("animate", no_args_is_help=True)(animate_command)
app.add_typer(lora_app, name="lora")
app.command("presets")(presets_command)
app.command("stages")(stages_command)
app.command("demo")(demo_command)
app.command("serve")(serve_command)
app.command("version")(version_command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"restore {__version__}")
        raise typer.Exit


@app.callback()
def _everything(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks of errors.")] = False,
) -> None:
    pass


def main() -> None:
    """Entry point; settings of the host that torch reads while loading come first."""
    tune_host()
    app()
