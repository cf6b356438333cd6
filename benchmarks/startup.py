"""How long the package and its quick commands take to start, each in a fresh process.

    python -m benchmarks.startup [--runs 7]

Medians of wall time. ``import restore`` shall stay below 300 ms, interpreter included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

_COMMANDS = {
    "python (nothing)": ["-c", "pass"],
    "import restore": ["-c", "import restore"],
    "import restore, look at restore.run": ["-c", "import restore; restore.run"],
    "restore --version": ["-m", "restore", "--version"],
    "restore --help": ["-m", "restore", "--help"],
    "restore presets": ["-m", "restore", "presets"],
    "restore models list": ["-m", "restore", "models", "list"],
    "restore version (loads torch)": ["-m", "restore", "version"],
}


def median_s(arguments: list[str], runs: int) -> float:
    """Median wall time of a command, after one run to warm the disk cache."""
    spent = []
    for number in range(runs + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        if number:
            spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def main() -> None:
    """Print a line for each command, and all of them as JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    found = {}
    for name, arguments in _COMMANDS.items():
        found[name] = round(median_s(arguments, runs), 4)
        print(f"{1000 * found[name]:8.0f} ms  {name}", flush=True)
    print(json.dumps({"runs": runs, "python": sys.version.split()[0], "median_s": found}))


if __name__ == "__main__":
    main()
