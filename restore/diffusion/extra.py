"""The packages of the extra ``diffusion``, imported when a pipeline is asked for and not before."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any, Final

from restore.errors import MissingExtra

__all__ = ["PIP_COMMAND", "need_diffusers"]

PIP_COMMAND: Final = "pip install 'restore-film[diffusion]'"
_PACKAGES: Final = ("diffusers", "transformers", "peft", "accelerate")


def need_diffusers() -> Any:  # noqa: ANN401  a module that is not always there
    """Import diffusers and what it works with.

    Returns:
        The module ``diffusers``, its own talk turned down to errors.

    Raises:
        MissingExtra: a package is not installed; says how to install it.
    """
    missing = []
    with warnings.catch_warnings():
        # The libraries warn of each other's old names while they are imported; what they warn of
        # when they are used is let through.
        warnings.simplefilter("ignore", (DeprecationWarning, FutureWarning))
        for name in _PACKAGES:
            try:
                import_module(name)
            except ImportError as error:
                missing.append(f"{name} ({error})")
    if missing:
        raise MissingExtra(
            f"diffusion needs {', '.join(missing)}, not installed or not working here",
            "the extra 'diffusion'",
            f"Run: {PIP_COMMAND}",
        )
    diffusers = import_module("diffusers")
    # What they say in their logs is said here in errors and reports.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    logging = import_module("transformers").utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return diffusers
