"""Delete the payload of a checkpoint that nothing planned will read again; see `twostage.common.storage.release_payload`."""

import argparse
from pathlib import Path

from twostage.common.scripting import run_script


def main() -> None:
    """Parse the command line and release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--manifest", type=Path, required=True, help="the checkpoint's; released.json goes beside it"
    )
    parser.add_argument(
        "--users", type=Path, nargs="+", required=True, help="manifests of what was made from the checkpoint"
    )
    args = parser.parse_args()

    from twostage.common.storage import release_payload

    release_payload(args.manifest, users=args.users)


if __name__ == "__main__":
    run_script(main)
