"""Starts the service: ``python server.py [--config FILE] ...``, the same as ``restore serve``."""

from __future__ import annotations

import sys

from restore.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["serve"]
    main()
