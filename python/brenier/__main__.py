"""The `brenier` command: ``brenier …`` or ``python -m brenier …``."""

import sys

from brenier import _brenier


def main() -> int:
    """Does what the command line says, and returns the exit code."""
    return _brenier.command(["brenier", *sys.argv[1:]], [sys.executable, "-m", "brenier"])


if __name__ == "__main__":
    sys.exit(main())
