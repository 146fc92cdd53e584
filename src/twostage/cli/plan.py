"""`twostage plan STUDY.yaml[:part]`: jobs, tokens, FLOPs, GPU-hours, cost and disk space of a study before it runs."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twostage.design.flops import ASSUMED_BYTES_PER_TOKEN, Machine

if TYPE_CHECKING:
    from twostage.planning.billing import Rates
    from twostage.planning.plan import CorpusSize, StudyPlan, Work
    from twostage.planning.throughput import Throughput
    from twostage.study import Study

DEFAULT_UTILISATION = 0.4
#: NVIDIA H100 SXM, dense bf16 (NVIDIA's data sheet). With the default utilisation, close to the 400 TFLOP/s of B.4.
DEFAULT_PEAK_TFLOPS = 989.0
DEFAULT_PRICE = 2.0


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "plan",
        help="show what a study will cost: jobs, FLOPs, GPU-hours, disk space",
        description="Show what a study will cost before it runs. GPU-hours are computed from the exact FLOPs of training.",
    )
    parser.add_argument(
        "study", metavar="STUDY.yaml[:part]", help="a study, or a named subset of it (or :full)"
    )
    parser.add_argument(
        "--utilisation",
        type=float,
        default=DEFAULT_UTILISATION,
        help="model FLOPs utilisation, for sizes without a measured speed (default: %(default)s)",
    )
    parser.add_argument(
        "--peak-tflops",
        type=float,
        help="dense peak of a GPU, TFLOP/s (default: that of the benchmark's GPU, else "
        f"{DEFAULT_PEAK_TFLOPS:g}, an H100 in bf16)",
    )
    parser.add_argument(
        "--tflops", type=float, help="model TFLOP/s that a GPU reaches; replaces the two options above"
    )
    parser.add_argument(
        "--throughput",
        type=Path,
        metavar="FILE",
        help="JSON file of benchmarks/gpu/run.py: use its measured tokens/s for the sizes that it covers",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="measure for ten seconds how fast this machine trains the study's smallest and largest model, and plan with that",
    )
    parser.add_argument(
        "--price",
        type=float,
        default=DEFAULT_PRICE,
        help="USD per GPU-hour (default: %(default)s, appendix B.4)",
    )
    parser.add_argument(
        "--bytes-per-token",
        type=float,
        default=ASSUMED_BYTES_PER_TOKEN,
        help="bytes of text per token, for corpora that are not tokenised yet (default: %(default)s)",
    )
    parser.add_argument(
        "--changes",
        action="store_true",
        help="show only what is out of date: which finished jobs would run again, which key or input is the reason, and what they cost",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    from twostage.catalogue.lookup import load_checked
    from twostage.planning.plan import cautions, plan_study, short_splits
    from twostage.study import load_study, study_file

    if not args.bytes_per_token > 0:
        raise ValueError(f"--bytes-per-token: {args.bytes_per_token} must be positive, e.g. 4")
    study = load_checked(args.study)
    if args.changes:
        return _show_changes(study, as_json=args.json)
    rates = _rates(args, study)
    sizes = corpus_sizes(study, args.bytes_per_token)
    plan = plan_study(study, sizes)
    full = load_study(f"{study_file(args.study)}:full")
    parts = {name: plan_study(full.part(name), sizes) for name in (*full.subsets, "full")}
    if args.json:
        from twostage.laws.jsonio import dumps

        print(dumps(_record(plan, parts, rates)))
        return 0
    from twostage.cli.plan_tables import show

    show(plan, parts, rates, args.study, [*cautions(study), *short_splits(study, sizes)])
    if args.calibrate and rates.measured:
        print(
            f"On this machine ({rates.measured.device}, one thread or GPU for each job): {rates.gpu_hours(plan.work):.2g} hours of "
            "training, divided by the number of jobs that run at once; starts of processes, evaluations and figures come on top"
        )
    print(_progress(study))
    return 0


def _progress(study: Study) -> str:
    """Say in one line what has run."""
    from twostage.planning.status import STATES, study_status

    counts = sum(study_status(study).count("jobs").values(), Counter())
    listed = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state])
    return f"Jobs in results/{study.name}, with tables and figures: {listed}"


def _show_changes(study: Study, *, as_json: bool) -> int:
    """Print the finished jobs that would run again, by reason."""
    from twostage.design.design import Design
    from twostage.planning.changes import grouped
    from twostage.planning.recorded import outdated, unknown

    design, results = Design(study), Path("results") / study.name
    groups = grouped(design, outdated(design, results), results)
    if as_json:
        from twostage.laws.jsonio import dumps

        print(dumps([group.to_json() for group in groups]))
        return 0
    for group in groups:
        print(f"{group}; e.g. {results / group.example}")
    if not groups:
        print("No finished training, growth, evaluation or data would be made again.")
    for note in unknown(results):
        print(f"Note: {note}")
    print(_progress(study))
    return 0


def _rates(args: argparse.Namespace, study: Study) -> Rates:
    from twostage.planning.billing import Rates
    from twostage.planning.throughput import load_throughput

    if args.calibrate and args.throughput:
        raise ValueError("--calibrate: measures what --throughput reads from a file; give one of them")
    measured = load_throughput(args.throughput) if args.throughput else None
    peak = measured.peak_tflops if measured else DEFAULT_PEAK_TFLOPS
    if args.calibrate:
        measured = _calibrated(study)
    return Rates(machine=_machine(args, peak), precision=study.recipe.precision, measured=measured)


def _calibrated(study: Study) -> Throughput | None:
    """Return the measured speed of this machine; None for a study that trains nothing."""
    from twostage.design.design import Design
    from twostage.planning.calibrate import calibrate
    from twostage.planning.recorded import costly_jobs

    specs = [
        job.spec()
        for job in costly_jobs(Design(study))
        if job.rule.startswith(("train_trunk", "train_decay"))
    ]
    return calibrate(specs) if specs else None  # type: ignore[arg-type]


def _machine(args: argparse.Namespace, default_peak: float) -> Machine:
    if args.tflops is None:
        peak = default_peak if args.peak_tflops is None else args.peak_tflops
        return Machine(peak_tflops=peak, utilisation=args.utilisation, price=args.price)
    if (args.utilisation, args.peak_tflops) != (DEFAULT_UTILISATION, None):
        raise ValueError(
            "--tflops: replaces --utilisation times --peak-tflops; give either --tflops or the other two"
        )
    return Machine(peak_tflops=args.tflops, utilisation=1, price=args.price)


def corpus_sizes(
    study: Study, bytes_per_token: float, results: Path = Path("results")
) -> dict[str, CorpusSize]:
    """Return the size of each corpus: exact if it is tokenised, else estimated from `max_bytes`.

    Raises:
        UserError: the manifest of a tokenised corpus is damaged.
    """
    from twostage.common.storage import read_manifest
    from twostage.design.paths import tokens_manifest
    from twostage.planning.plan import CorpusSize, estimated_size

    sizes = {}
    for corpus in study.corpora:
        manifest = results / study.name / tokens_manifest(corpus)
        if manifest.is_file():
            splits = read_manifest(manifest)["splits"]
            sizes[corpus] = CorpusSize(
                tokens=splits["train"]["tokens"],
                source="exact: tokenised",
                valid_tokens=splits["valid"]["tokens"],
            )
        else:
            sizes[corpus] = estimated_size(study, corpus, bytes_per_token)
    return sizes


def _record(plan: StudyPlan, parts: dict[str, StudyPlan], rates: Rates) -> dict[str, Any]:
    from twostage.planning.plan import PAPER

    def bill(work: Work) -> dict[str, float]:
        return {"gpu_hours": rates.gpu_hours(work), "cost_usd": rates.cost(work)}

    machine, measured = rates.machine, rates.measured
    return plan.to_json() | {
        "machine": {
            "tflops": machine.tflops,
            "price_usd": machine.price,
            "measured_on": measured and measured.device,
            "not_measured": rates.gaps(plan.work),
        },
        **bill(plan.work),
        "naive_bill": bill(plan.naive),
        "paper": {
            "flops": PAPER.flops,
            "gpu_hours": PAPER.gpu_hours,
            "all_gpu_hours": PAPER.all_gpu_hours,
            "all_cost_usd": PAPER.all_cost,
            "flops_6nd_continual": PAPER.recomputed(growth=1),
            "flops_6nd_growth": PAPER.recomputed(growth=2),
        },
        "parts": {
            name: {
                "jobs": part.jobs,
                "tokens": part.work.tokens,
                "flops_6nd": part.work.flops_6nd,
                "flops": part.work.flops,
                "disk_bytes": part.disk.total_bytes,
                "disk_final_bytes": part.disk.final_bytes,
                **bill(part.work),
            }
            for name, part in parts.items()
        },
    }
