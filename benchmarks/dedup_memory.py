"""Memory and time to find exact duplicates, compared with a Python set of full digests, each in its own process.

python benchmarks/dedup_memory.py [--millions 4]
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path


def _status(key: str) -> int:
    """Return VmRSS or VmHWM of this process, in bytes."""
    return int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0]) * 1024


def measure(side: str, count: int) -> dict[str, float]:
    """Add `count` digests; return bytes after the last one, bytes at the peak, and microseconds, all per document."""
    from twostage.corpora.digests import DigestSet

    seen: set[bytes] | DigestSet = set() if side == "set" else DigestSet()
    before, start = _status("VmRSS"), time.perf_counter()
    for number in range(count):
        seen.add(hashlib.sha256(number.to_bytes(8, "big")).digest())
    seconds = time.perf_counter() - start
    assert len(seen) == count
    held, peak = _status("VmRSS") - before, _status("VmHWM") - before
    return {"held": held / count, "peak": peak / count, "microseconds": 1e6 * seconds / count}


def main() -> None:
    """Measure both sets and print the results with their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=int, default=4)
    parser.add_argument(
        "--side", choices=("set", "ours"), help="measure only this set, in this process, and print JSON"
    )
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args.side, args.millions * 1_000_000)))
        return
    results = {}
    for side in ("set", "ours"):
        command = [sys.executable, __file__, "--side", side, "--millions", str(args.millions)]
        results[side] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        print(f"{side:5s}", "  ".join(f"{key} {value:6.1f}" for key, value in results[side].items()))
    print(f"memory, ours / set: {results['ours']['peak'] / results['set']['peak']:.2f} at the peak")


if __name__ == "__main__":
    main()
