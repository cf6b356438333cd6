"""The work behind ``restore run``: one job, or a batch of them, told to a person or a program."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path, PurePath

from rich.console import Console

from restore.api import AUTO, RunOptions, auto_analysis, make_job
from restore.batch import BatchItem, expand_inputs, number_outputs
from restore.console.human import HumanTeller
from restore.console.interrupt import interruptible
from restore.console.lines import JsonTeller
from restore.console.teller import Failure, Outcome, Teller
from restore.console.words import parse_bytes
from restore.engine.settings import CancelToken
from restore.errors import Cancelled, InvalidInput, RestoreError
from restore.overrides import Overrides, adapted
from restore.recipe import Recipe, load_preset, load_recipe

__all__ = ["Request", "work"]


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        inputs: as given.
        output: as given.
        preset: its name.
        recipe: a file in its place.
        options: what departs from the recipe.
        memory: for one network call, as text.
        skip_existing: leave out what is done.
        dry_run: plan only.
        json_lines: tell a program.
        resume: keep what is done, chunk by chunk, and go on from what an earlier run kept.
    """

    inputs: tuple[str, ...]
    output: str
    preset: str
    recipe: Path | None
    options: RunOptions
    memory: str | None = None
    skip_existing: bool = False
    dry_run: bool = False
    json_lines: bool = False
    resume: bool = False


def work(request: Request) -> int:
    """Do everything that was asked for.

    Returns:
        The process exit code.

    Raises:
        RestoreError: the request itself is wrong, and nobody reads JSON.
    """
    to_pipe = request.output == "-"
    teller: Teller
    if request.json_lines:
        teller = JsonTeller(sys.stderr if to_pipe else sys.stdout)
    else:
        teller = HumanTeller(Console(stderr=to_pipe, highlight=False))
    cancel = CancelToken()
    try:
        return interruptible(lambda: _work(request, teller, cancel), cancel, teller.stopping)
    finally:
        teller.close()


def _work(request: Request, teller: Teller, cancel: CancelToken) -> int:
    try:
        options = request.options
        if request.memory is not None:
            options = {**options, "memory_bytes": parse_bytes(request.memory)}
        recipe = load_recipe(request.recipe) if request.recipe else None
        if recipe is None and request.preset != AUTO:
            recipe = load_preset(request.preset)
        # What is proposed for a clip says nothing of its delivery.
        known = recipe or load_preset("default")
        items, is_batch, notes = _items(request, adapted(known, _overrides(options)))
    except RestoreError as error:
        failure = Failure(" ".join(request.inputs), error)
        teller.failed(failure)
        return failure.exit_code
    for note in notes:
        teller.warning(note)
    return _through(request, recipe, options, items, teller, cancel, is_batch=is_batch)


def _overrides(options: RunOptions) -> Overrides:
    named = {name: value for name, value in options.items() if name in Overrides.names()}
    return Overrides(**named)  # type: ignore[arg-type]


def _through(
    request: Request,
    recipe: Recipe | None,
    options: RunOptions,
    items: tuple[BatchItem, ...],
    teller: Teller,
    cancel: CancelToken,
    *,
    is_batch: bool,
) -> int:
    """Every item in turn; one that fails does not stop the others, a cancelled one does."""
    done = skipped = 0
    failures: list[Failure] = []
    for position, item in enumerate(items, start=1):
        teller.begin(item, position, len(items) if is_batch else 1)
        if item.is_done and request.skip_existing:
            teller.skipped(item)
            skipped += 1
            continue
        try:
            _one(request, recipe, options, item, teller, cancel)
        except Exception as error:
            # What breaks while everything is being stopped broke because of that.
            why = Cancelled("the run was cancelled") if cancel.is_cancelled else error
            failure = Failure(item.source, why)
            teller.failed(failure)
            if cancel.is_cancelled or not is_batch:
                return failure.exit_code
            failures.append(failure)
        else:
            done += 1
    if is_batch:
        teller.summary(Outcome(done, skipped, tuple(failures)))
    return 1 if failures else 0


def _one(
    request: Request,
    recipe: Recipe | None,
    options: RunOptions,
    item: BatchItem,
    teller: Teller,
    cancel: CancelToken,
) -> None:
    from restore.restoration import plan_job, run_job

    cancel.check()
    if recipe is None:
        analysis = auto_analysis(item.source, options)
        teller.analysis(analysis, dry_run=request.dry_run)
        recipe = analysis.proposal.recipe
        cancel.check()
    job = make_job(item.source, item.destination, recipe, options)
    plan = plan_job(job, measure=request.dry_run)
    _check_name(item.destination, plan.delivery.facts.kind, plan.delivery.facts.suffixes)
    cancel.check()
    teller.plan(plan, dry_run=request.dry_run)
    if plan.stages and plan.stages[-1].label.startswith("resize"):
        last = plan.stages[-1]
        if last.output_px[0] > last.input_px[0]:
            teller.warning(
                f"the networks reach {last.input_px[0]}x{last.input_px[1]}; a cubic enlargement, "
                "which adds no detail, makes the rest"
            )
    if request.dry_run:
        if item.is_done and not options.get("overwrite"):
            teller.warning(f"{item.destination} exists; --overwrite would replace it")
        return
    if request.resume:
        from restore.jobs.resume import run_durable

        teller.done(run_durable(job, on_progress=teller.progress, cancel=cancel))
    else:
        teller.done(run_job(plan, on_progress=teller.progress, cancel=cancel))


def _check_name(destination: str, kind: str, suffixes: tuple[str, ...]) -> None:
    """A dry run shall not promise what the writer then refuses."""
    if kind == "video" and PurePath(destination).suffix.lower() not in suffixes:
        raise InvalidInput(
            f"output {destination!r} for a delivery in {', '.join(suffixes)}",
            "a name with one of these endings",
            "Name the delivery with --codec, or change the output's name.",
        )


def _items(request: Request, recipe: Recipe) -> tuple[tuple[BatchItem, ...], bool, tuple[str, ...]]:
    """What there is to do: the one job, or a numbered batch."""
    sources, is_batch, notes = expand_inputs(request.inputs)
    suffixes, is_sequence = _endings(recipe)
    is_folder = Path(request.output).is_dir() or not PurePath(request.output).suffix
    if not is_batch and is_folder and suffixes and not is_sequence and request.output != "-":
        is_batch = True  # one clip into a folder, delivered as a file
    if not is_batch:
        target = Path(request.output)
        is_done = request.output != "-" and (
            any(target.iterdir()) if target.is_dir() else target.exists()
        )
        return (BatchItem(1, sources[0], request.output, is_done),), False, notes
    if request.output == "-" or not is_folder:
        raise InvalidInput(
            f"output {request.output!r} for {len(sources)} inputs",
            "a folder, whose name has no ending",
        )
    if not request.dry_run:
        Path(request.output).mkdir(parents=True, exist_ok=True)
    items = number_outputs(sources, request.output, suffixes, is_sequence=is_sequence)
    return items, True, notes


def _endings(recipe: Recipe) -> tuple[tuple[str, ...], bool]:
    """Endings that the recipe's delivery writes, and whether it writes pictures."""
    profile = recipe.delivery.get("profile")
    if profile is None:
        return (), False
    from restore.media.profiles import profile_named

    facts = profile_named(str(profile))
    return facts.suffixes, facts.kind == "sequence"
