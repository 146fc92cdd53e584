"""Run a rule's command under supervision: its log, a requeue after SIGTERM, no second attempt for bad input."""

import argparse
import sys
from pathlib import Path

from twostage.cluster.supervise import supervise


def main() -> None:
    """Parse the command line, run the command, exit with its code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True, help="file for the output of the command")
    parser.add_argument("command", nargs="+", help="command to run, after `--`")
    args = parser.parse_args()
    sys.exit(supervise(args.command, args.log))


if __name__ == "__main__":
    main()
