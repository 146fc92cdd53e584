"""Delete the payload of a checkpoint that no planned job reads; see `twostage.common.storage.release_payload`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line and release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--manifest",
        type=Path,
        required=True,
        help="manifest of the checkpoint; released.json is written next to it",
    )
    parser.add_argument(
        "--consumers",
        type=Path,
        nargs="+",
        required=True,
        help="manifests of all jobs that read the checkpoint",
    )
    args = parser.parse_args()

    from twostage.common.storage import release_payload

    release_payload(args.manifest, consumers=args.consumers)


if __name__ == "__main__":
    run_script(main)
