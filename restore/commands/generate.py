"""``restore generate`` and ``restore animate``: new clips that take the same path as old ones."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from restore.commands.options import Debug, Json
from restore.console.interrupt import interruptible
from restore.console.tether import end_with_parent
from restore.engine.settings import CancelToken
from restore.errors import InvalidInput

if TYPE_CHECKING:
    from restore.api import RunOptions
    from restore.generate.queue import Outcome
    from restore.generate.shot import Shot
    from restore.plan import Job

__all__ = ["animate_command", "generate_command"]


def generate_command(
    shots: Annotated[Path, typer.Argument(help="The list: .toml, .json, .csv or .md.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for clips and masters.")],
    preset: Annotated[
        str, typer.Option(help="Preset that each clip is handed to; 'none' leaves the clips.")
    ] = "generated",
    only: Annotated[list[str] | None, typer.Option(help="Names of shots; all.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make again what was made with other settings.")
    ] = False,
    no_networks: Annotated[
        bool, typer.Option("--no-networks", help="Restore without any network.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    tethered: Annotated[bool, typer.Option("--tethered", hidden=True)] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make every shot of a list and hand each clip to restoration.

    What is there is skipped; after a kill the same command goes on.
    """
    from restore.generate.planning import planned
    from restore.generate.queue import Queue
    from restore.generate.shotlist import ShotList, load_shots

    if tethered:  # by a server, whose end shall be this command's
        end_with_parent()
    found = load_shots(shots)
    if only:
        unknown = sorted(set(only) - {shot.name for shot in found.shots})
        if unknown:
            raise InvalidInput(f"shot {', '.join(unknown)}", f"a name in {shots.name}")
        found = ShotList(found.source, tuple(s for s in found.shots if s.name in only))
    queue = Queue(
        found,
        output,
        _painter(found.shots, shots, device),
        None if preset == "none" else _Restoration(preset, device, no_networks=no_networks),
        overwrite=overwrite,
    )
    console = Console(highlight=False, stderr=as_json)
    if dry_run:
        rows = [planned(shot, queue) for shot in found.shots]
        if as_json:
            sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        for row in rows:
            console.print(row["words"])
        if any(row["error"] for row in rows):
            raise typer.Exit(1)
        return
    _work(queue, console, as_json=as_json)


def _work(queue: Any, console: Console, *, as_json: bool) -> None:  # noqa: ANN401  a Queue
    def begin(shot: Shot, number: int, of: int) -> None:
        console.print(
            f"[bold]{number}/{of} {shot.name}[/]: {shot.kind}, {shot.scene or shot.prompt}"
        )

    def end(outcome: Outcome) -> None:
        for note in outcome.notes:
            console.print(f"  {note}")
        if outcome.error is not None:
            console.print(f"  [red]failed:[/] {outcome.error}")
        else:
            console.print(f"  {outcome.state}: {outcome.master or outcome.clip}")

    cancel = CancelToken()
    outcomes = interruptible(
        lambda: queue.run(cancel, begin, end), cancel, lambda: console.print("stopping")
    )
    if as_json:
        rows = [
            {
                "shot": o.shot,
                "state": o.state,
                "clip": str(o.clip),
                "master": None if o.master is None else str(o.master),
                "error": None if o.error is None else str(o.error),
                "error_type": None if o.error is None else type(o.error).__name__,
                "notes": list(o.notes),
            }
            for o in outcomes
        ]
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
    failed = [o.error for o in outcomes if o.error is not None]
    if failed:
        raise typer.Exit(failed[0].exit_code if len(outcomes) == 1 else 1)


def _painter(shots: tuple[Shot, ...], source: Path, device: str) -> Any:  # noqa: ANN401
    """Diffusion is loaded where a shot asks for it, and not before."""
    if all(shot.kind in ("camera", "cinemagraph") for shot in shots):
        return None
    from restore.engine.device import choose_device
    from restore.generate.painted import Painter

    return Painter(source.absolute().parent, choose_device(device))


class _Restoration:
    """Hands clips to a preset: a :class:`restore.generate.queue.Finish`."""

    def __init__(self, preset: str, device: str, *, no_networks: bool) -> None:
        from restore.recipe import load_preset

        self._recipe = load_preset(preset)
        self._options: RunOptions = {"device": device, "no_networks": no_networks}

    def _job(self, shot: Shot, clip: Path, name: Path, *, overwrite: bool) -> Job:
        from restore.api import make_job

        options: RunOptions = {**self._options, "overwrite": overwrite}
        if shot.invent is not None:
            options["invent"] = shot.invent
        return make_job(clip, name.with_name(name.name + ".mp4"), self._recipe, options)

    def settings(self, shot: Shot, clip: Path) -> str:
        """What the master's own tags say decided it, but for tiles and versions of programs."""
        from restore.plan import plan_job

        plan = plan_job(self._job(shot, clip, clip.with_suffix(""), overwrite=True))
        known = {
            "recipe": plan.job.recipe.canonical(),
            "precision": plan.job.settings.precision,
            "backend": plan.job.settings.backend,
            "stages": [
                [stage.label, {k: v for k, v in stage.facts.items() if not k.startswith("backend")}]
                for stage in plan.stages
            ],
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def restore(
        self, shot: Shot, clip: Path, name: Path, overwrite: bool, cancel: CancelToken
    ) -> Path:
        """Run the job."""
        from restore.restoration import run_job

        job = self._job(shot, clip, name, overwrite=overwrite)
        run_job(job, cancel=cancel)
        return Path(job.destination)


def _pair(text: str, what: str) -> tuple[float, float]:
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 2:
        raise InvalidInput(f"--{what} {text!r}", "FROM:TO, or one number")
    return values[0], values[-1]


def animate_command(
    image: Annotated[Path, typer.Argument(help="The still.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The clip: a name in .mkv.")],
    zoom: Annotated[str, typer.Option(help="FROM:TO; 1 shows the most.")] = "1:1.15",
    x: Annotated[str, typer.Option(help="Middle across, FROM:TO, shares of the width.")] = "0.5",
    y: Annotated[str, typer.Option(help="Middle down, FROM:TO, shares of the height.")] = "0.5",
    roll: Annotated[str, typer.Option(help="FROM:TO in degrees.")] = "0",
    ease: Annotated[str, typer.Option(help="linear, ease, ease-in or ease-out.")] = "ease",
    loop: Annotated[bool, typer.Option("--loop", help="There and back, without a seam.")] = False,
    depth: Annotated[
        Path | None, typer.Option(help="Depth picture or mask, white is near: parallax.")
    ] = None,
    parallax: Annotated[float, typer.Option(help="0 to 2.")] = 1.0,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT.")] = "768x432",
    fps: Annotated[str, typer.Option(help="Frames a second.")] = "24",
    frames: Annotated[int, typer.Option(help="How many.")] = 96,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    debug: Debug = False,
) -> None:
    """Make a clip of a still by a camera that moves over it; no network, no weights.

    Exact between pixels. The clip is lossless and goes on to `restore run --preset generated`.
    """
    from restore.generate.make import make_clip
    from restore.generate.shotlist import shot_from

    width, _, height = size.lower().partition("x")
    row: dict[str, Any] = {
        "name": "still",
        "kind": "camera",
        "image": str(image.absolute()),
        "depth": "" if depth is None else str(depth.absolute()),
        "width": width,
        "height": height,
        "fps": fps,
        "frames": frames,
        "move": {
            "x": _pair(x, "x"),
            "y": _pair(y, "y"),
            "zoom": _pair(zoom, "zoom"),
            "roll_deg": _pair(roll, "roll"),
            "ease": ease,
            "loop": loop,
            "parallax": parallax,
        },
    }
    shot = shot_from(row, "restore animate")
    cancel = CancelToken()
    made = interruptible(
        lambda: make_clip(shot, Path(), output, None, overwrite=overwrite, cancel=cancel),
        cancel,
        lambda: typer.echo("stopping", err=True),
    )
    for note in made.notes:
        typer.echo(note, err=True)
    typer.echo(f"{made.path}: {made.frames} frames, sha256 {made.sha256}")
