"""``python -m restore`` is the command line."""

from restore.cli import main

if __name__ == "__main__":
    main()
