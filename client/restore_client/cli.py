"""``restore-client``: jobs on a server from the command line."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from restore_client.client import Client
from restore_client.errors import ServiceError
from restore_client.v1 import job_pb2

__all__ = ["main"]

_TEXTS = (
    "scale",
    "model",
    "quality",
    "look",
    "fps",
    "slowmo",
    "backend",
    "precision",
    "codec",
    "speed",
)
_ENCODERS = ("software", "hardware")
# What an entry of the catalogue is told by, whichever it has first.
_ABOUT = ("description", "summary", "licence", "class_name")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="restore-client", description=__doc__)
    parser.add_argument("--address", default=os.environ.get("RESTORE_ADDRESS", "127.0.0.1:50551"))
    parser.add_argument("--ca", type=Path, help="PEM file of the server's authority; turns TLS on")
    parser.add_argument("--certificate", type=Path, help="PEM file of the client's certificate")
    parser.add_argument("--key", type=Path, help="PEM file of its key")
    commands = parser.add_subparsers(dest="command", required=True)
    submit = commands.add_parser("submit", help="send a clip, wait, fetch the result")
    submit.add_argument("source", type=Path)
    submit.add_argument("destination", type=Path)
    submit.add_argument("--preset", default="default")
    for name in _TEXTS:
        submit.add_argument(f"--{name}")
    submit.add_argument("--crf", type=int)
    submit.add_argument("--encoder", choices=_ENCODERS, help="hardware: the server's GPU encodes")
    submit.add_argument("--invent", type=float, help="0 to 1: how far detail may be made up")
    generate = commands.add_parser(
        "generate", help="have the clips of a list of shots made and restored, fetch them"
    )
    generate.add_argument("shots", type=Path, help="TOML or JSON; files that it names are sent")
    generate.add_argument("folder", type=Path, help="where the clips go")
    generate.add_argument("--preset", default="generated")
    generate.add_argument("--container", default=".mp4", choices=(".mp4", ".mkv", ".mov"))
    commands.add_parser("list", help="all jobs")
    for name in ("watch", "pause", "resume", "cancel", "delete"):
        commands.add_parser(name, help=f"{name} a job").add_argument("job")
    download = commands.add_parser("download", help="fetch a result")
    download.add_argument("job")
    download.add_argument("destination", type=Path)
    for name in ("models", "presets", "stages", "devices", "pipelines"):
        commands.add_parser(name, help=f"{name} of the server")
    return parser


def _line(job: job_pb2.Job) -> str:
    state = job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")
    progress = job.progress
    text = f"{job.name}  {state:9}  {progress.frames_done}/{progress.frames_total or '?'} frames"
    if progress.fps:
        text += f"  {progress.fps:.1f} fps"
    if job.failure.message:
        text += f"  {job.failure.message}"
    return text


def _submit(client: Client, given: argparse.Namespace) -> int:
    name = client.upload(
        given.source, on_progress=lambda done, size: _say(f"sent {done} of {size} bytes")
    )
    options = {
        key: getattr(given, key)
        for key in (*_TEXTS, "crf", "encoder", "invent")
        if getattr(given, key) is not None
    }
    container = given.destination.suffix.lower()
    made = client.create_job(name, preset=given.preset, container=container, **options)
    last = made
    for last in client.watch(made.name):
        _say(_line(last))
    if last.state != job_pb2.JOB_STATE_SUCCEEDED:
        return 1
    client.download(made.name, given.destination)
    for warning in last.warnings:
        _say(f"note: {warning}")
    return 0


def _generate(client: Client, given: argparse.Namespace) -> int:
    ended = client.generate(
        given.shots,
        given.folder,
        preset=given.preset,
        container=given.container,
        on_change=lambda name, job: _say(f"{name}: {_line(job)}"),
    )
    return 0 if all(job.state == job_pb2.JOB_STATE_SUCCEEDED for job in ended) else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()  # whoever reads it through a pipe waits for it too


def _do(client: Client, given: argparse.Namespace) -> int:
    if given.command == "submit":
        return _submit(client, given)
    if given.command == "generate":
        return _generate(client, given)
    if given.command == "list":
        for job in client.jobs():
            _say(_line(job))
    elif given.command == "watch":
        for job in client.watch(given.job):
            _say(_line(job))
    elif given.command == "delete":
        client.delete(given.job)
    elif given.command == "download":
        client.download(given.job, given.destination)
    elif given.command in ("pause", "resume", "cancel"):
        _say(_line(getattr(client, given.command)(given.job)))
    else:
        for entry in getattr(client, given.command)():
            about = [getattr(entry, name, "") for name in _ABOUT]
            _say(f"{entry.name}  {next(filter(None, about), '')}")
    return 0


def main() -> None:
    """Entry point. The token is taken from ``$RESTORE_TOKEN``, never from the command line."""
    given = _parser().parse_args()
    token = os.environ.get("RESTORE_TOKEN")
    try:
        with Client(given.address, token, given.ca, given.certificate, given.key) as client:
            code = _do(client, given)
    except ServiceError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
