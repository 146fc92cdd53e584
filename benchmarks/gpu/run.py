"""Correctness and speed of training on a GPU: one command on a machine with CUDA prints a table and writes a JSON file.

    python benchmarks/gpu/run.py --out gpu.json [--quick] [--sizes 15M,44M,...] [--peak-tflops X]
    python benchmarks/gpu/run.py --out dry.json --device cpu --sizes tiny     # a dry run of the script itself

Correctness checks run first; a failed check ends the run, unless --keep-going is given. Every part runs in its own process.
Our loop and the loops that it is compared with run in one process, in alternating blocks. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault(
    "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
)  # set before CUDA starts; deterministic kernels require it
os.environ.setdefault("OMP_NUM_THREADS", "1" if "cpu" in sys.argv else "8")

# Import path of the parts, so that the project need not be installed. Dry runs use the emulation of bf16 in tests/.
ROOT = Path(__file__).resolve().parents[2]
PLACES = [ROOT / "src", ROOT / "benchmarks/gpu", ROOT / "benchmarks", ROOT / "tests"]
SCHEMA = 1
TARGETS = {"plain": 1.0, "packed": 1.2, "mfu": {"0.1B": 0.40, "1B": 0.50}, "stall": 0.01}


def main() -> int:
    args = parse()
    if args.part:
        return run_part(args)
    report = {
        "kind": "twostage-gpu-benchmark",
        "schema": SCHEMA,
        "dry_run": args.device == "cpu",
        "quick": args.quick,
        "precision": "bf16",  # what `speed.ours` trains in
        "machine": child(args, "machine"),
        "checks": [],
        "sizes": [],
        "packing": [],
        "checkpoints": [],
    }
    peak = args.peak_tflops or report["machine"]["peak_tflops"]
    if peak is None and args.device == "cuda":
        print(
            f"error: the dense bf16 peak of {report['machine']['device']} is not known; give --peak-tflops (see its data sheet)",
            file=sys.stderr,
        )
        return 2
    report["machine"]["peak_tflops"] = peak
    names = args.sizes.split(",")
    try:
        for check in args.checks.split(",") if args.checks else []:
            found = child(args, f"check:{check}")
            report["checks"].append(found)
            say(
                f"{'ok ' if found['ok'] else 'BAD'} {found['check']}: {found['value']:.3g} (band {found['band']:.3g})"
            )
            if not found["ok"] and not args.keep_going:
                return 1
        for name in names:
            say(f"{name}: speed")
            report["sizes"].append(child(args, f"size:{name}:{peak or 0}"))
            report["checkpoints"].append(child(args, f"checkpoint:{name}"))
        for name in names:
            if child(args, f"packs:{name}")["packs"]:
                say(f"{name}: packing")
                report["packing"].append(child(args, f"packing:{name}"))
    finally:
        # Keep the results so far if an error occurs.
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    return 0 if all(found.get("ok") for found in report["checks"]) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--sizes", default="15M,44M,0.1B,0.2B,0.5B,1B", help="comma-separated; also: tiny")
    parser.add_argument("--checks", default="forward,optimizer-state,resume,growth,curve", help="empty: none")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a dry run, no measurement"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter blocks: under ten minutes for two sizes"
    )
    parser.add_argument(
        "--peak-tflops", type=float, help="dense bf16 peak of the device, if the script does not know it"
    )
    parser.add_argument("--keep-going", action="store_true", help="measure speed even if a check fails")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    return parser.parse_args()


def say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def command(args: argparse.Namespace) -> list[str]:
    return [sys.executable, __file__, "--device", args.device, *(["--quick"] if args.quick else [])]


def child(args: argparse.Namespace, part: str) -> dict[str, Any]:
    """Run one part in its own process and return its result; the result of a part that fails has its error output."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "part.json")
        words = [*command(args), "--out", str(out), "--part", part]
        paths = os.pathsep.join([*map(str, PLACES), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            words,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": paths},
        )
        if out.is_file():
            found: dict[str, Any] = json.loads(out.read_text())
            return found
    say(f"{part} failed with code {done.returncode}:\n{done.stderr[-3000:]}")
    if part.startswith("check:"):
        return {"check": part, "ok": False, "value": float("inf"), "band": 0.0, "failed": done.stderr[-3000:]}
    if part.startswith(("machine", "packs")):
        raise SystemExit(done.returncode or 1)
    return {"size": part.split(":")[1], "failed": done.stderr[-3000:]}


def run_part(args: argparse.Namespace) -> int:
    import warnings

    warnings.filterwarnings("ignore")
    import material

    setting = material.Setting(args.device, args.quick)
    kind, *rest = args.part.split(":")
    import checks
    import speed

    with tempfile.TemporaryDirectory() as folder:
        if kind == "machine":
            found = machine(args.device)
        elif kind == "packs":
            found = {"packs": material.SIZES[rest[0]].packs}
        elif kind == "check":
            found = checks.CHECKS[rest[0]](setting, Path(folder))
        elif kind == "size":
            found = speed.one_size(rest[0], setting, float(rest[1]) or None)
        elif kind == "checkpoint":
            found = speed.checkpoint_cost(rest[0], setting)
        elif kind == "packing":
            found = speed.packing(rest[0], setting, command(args))
        else:
            found = speed.solo(rest[0], setting, Path(rest[1]), int(rest[2]))
    args.out.write_text(json.dumps(found))
    return 0


def machine(device: str) -> dict[str, Any]:
    import torch

    from twostage.cluster.device_peaks import peak_tflops
    from twostage.common import attention, provenance

    name = provenance.device_kind(device)
    memory = torch.cuda.get_device_properties(0).total_memory if device == "cuda" else None
    return {
        "device": name,
        "memory_bytes": memory,
        "peak_tflops": peak_tflops(name),
        "driver_cuda": torch.version.cuda,
        "attention_backends": sorted(attention.installed()),
        "python": platform.python_version(),
        "git_commit": provenance.git_commit(),
        "torch": torch.__version__,
    }


# The table -----------------------------------------------------------------------------------------------------------


def table(report: dict[str, Any]) -> str:
    """Return one table of all results; the first and last lines of a dry run say that it is one."""
    head = f"{report['machine']['device']}, dense bf16 peak {report['machine']['peak_tflops']} TFLOP/s, torch {report['machine']['torch']}"
    dry = "DRY RUN ON A CPU: it tests the script; its numbers have no meaning for a GPU."
    lines = [dry] if report["dry_run"] else []
    lines += [
        head,
        "MFU = FLOPs of the model's matrix products, causal attention (twostage.design.flops) / peak",
        "",
    ]
    lines.append(
        f"{'size':6} {'loop':24} {'tokens/s':>12} {'MFU':>6} {'GiB':>6} {'first s':>8}  ours is faster by"
    )
    for row in report["sizes"]:
        if "failed" in row:
            lines.append(f"{row['size']:6} failed: {row['failed'].strip().splitlines()[-1]}")
            continue
        for key, found in row["variants"].items():
            if "failed" in found:
                lines.append(f"{row['size']:6} {key:24} not run: {found['failed'][:80]}")
                continue
            mfu = f"{found['mfu']:6.1%}" if found["mfu"] is not None else f"{'-':>6}"
            memory = found["peak_memory_bytes"]
            gib = f"{memory / 2**30:6.1f}" if memory is not None else f"{'-':>6}"
            ratio = f"{found['ours_is_faster_by']:.2f}x" if "ours_is_faster_by" in found else ""
            speed = f"{found['tokens_per_s']:12,.0f}"
            lines.append(
                f"{row['size']:6} {key:24} {speed} {mfu} {gib} {found['first_update_s']:8.1f}  {ratio}"
            )
        if row["split"]:
            s = {name: 1e3 * seconds for name, seconds in row["split"].items()}
            lines.append(
                f"{'':6} update {s['update_s']:.1f} ms = forward {s['forward_s']:.1f} + backward {s['backward_s']:.1f} + "
                f"optimizer {s['optimizer_s']:.1f}; waiting for each loss would add {s['waiting_for_each_loss_s']:.2f}"
            )
    for row in report["packing"]:
        if "gain" in row:
            jobs = ", ".join(
                f"{n}: {found['tokens_per_s']:,.0f}"
                for n, found in row["jobs"].items()
                if "tokens_per_s" in found
            )
            lines.append(
                f"{row['size']:6} packed, tokens/s of all by jobs per GPU ({'MPS' if row['mps'] else 'no MPS'}): {jobs}; "
                f"gain {row['gain']:.2f}x at {row['best_jobs_per_gpu']}"
            )
    for row in report["checkpoints"]:
        if "failed" not in row:
            lines.append(
                f"{row['size']:6} rolling state: {row['bytes'] / 2**20:,.0f} MiB, training pauses for {row['stall_s']:.3f} s "
                f"({row['stall_share']:.3%} at one per {row['interval_s']:.0f} s), then written in {row['write_s']:.2f} s"
            )
    for found in report["checks"]:
        lines.append(
            f"{'ok' if found['ok'] else 'BAD':6} {found['check']}: {found['value']:.3g}, band {found['band']:.3g}"
        )
    lines += [dry] if report["dry_run"] else []
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
