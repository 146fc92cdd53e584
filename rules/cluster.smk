# Execution on a cluster: what each job asks Slurm for, and the head that drives a study. Functions only. Nothing here
# is part of a job's identity; without a `site:` (profiles/slurm/site.yaml) no such resource exists.
import functools
import json
import shutil

from snakemake.logging import logger

from twostage.cluster.head import Head, restart, stop_alarms
from twostage.cluster.site import parse_site
from twostage.cluster.supervise import bad_input_marker
from twostage.planning import disk, walltime
from twostage.planning.throughput import load_site_throughput

SITE = explained(parse_site)(config.get("site"))
THROUGHPUT = explained(load_site_throughput)(SITE) if SITE else None


# Training jobs --------------------------------------------------------------------------------------------------------


@functools.cache
def training_size(job):
    """Architecture, tokens and batch of a segment or branch."""
    batch_size = study.models[job.run.model].batch_size
    return design.architecture(job.run), design.job_tokens(job), batch_size


@functools.cache
def measured_speed(architecture):
    """Tokens per second of one GPU by the site's benchmark; None, and a word of it for each size, where it has none."""
    if not THROUGHPUT:
        return None
    gap = THROUGHPUT.gap(architecture.n_params, study.recipe.precision)
    if gap:
        logger.warning(
            f"site.throughput: no speed for a model of {architecture.n_params:,} parameters ({gap}); "
            f"its walltime follows from assumed_mfu: {SITE.assumed_mfu:g}"
        )
        return None
    return THROUGHPUT.tokens_per_s(architecture)


def training_plan(job):
    """GPUs and hours; from the speed that the trunk before it has reached, once it is there."""
    size = training_size(job)
    plan = walltime.plan_training(
        *size, SITE, tokens_per_s_of_one=measured_speed(size[0])
    )
    before = (
        design.segment_parent(job)
        if isinstance(job, paths.Segment)
        else design.branch_parent(job)
    )
    metrics = before and Path(in_results(f"{before.folder}/metrics.json"))
    if not metrics or not metrics.is_file():
        return plan
    found = json.loads(metrics.read_text())
    if found["ranks"] != plan.gpus or not found["tokens_per_s"]:
        return plan
    return walltime.plan_training(*size, SITE, tokens_per_s=found["tokens_per_s"])


def on_site(function):
    """Resource function that exists only where there is a site."""

    @explained
    def resource(wildcards, attempt):
        return function(wildcards, attempt) if SITE else None

    return resource


def slurm_options(log, function=lambda wildcards: ""):
    """Options for sbatch that the plugin has no resource for.

    After bad input sbatch itself refuses the next attempt, by an option that does not exist: nothing is submitted, the
    message says why, and the other jobs go on.
    """

    def options(wildcards, attempt):
        if attempt > 1 and bad_input_marker(log.format(**wildcards)).is_file():
            return "--bad-input-is-not-submitted-again"
        return function(wildcards)

    return on_site(options)


def training_resources(job_of, log):
    """Everything that a training job asks for; `log` is the rule's log, `job_of` finds the job from wildcards."""

    def gpus(wildcards):
        return walltime.plan_training(*training_size(job_of(wildcards)), SITE).gpus

    def nodes(wildcards):
        return walltime.nodes_for(gpus(wildcards), SITE)

    def per_node(wildcards):
        return gpus(wildcards) // nodes(wildcards)

    def options(wildcards):
        # SIGTERM comes early enough to save; the total of GPUs alone could be dealt out unevenly.
        spread = (
            f" --gpus-per-node={per_node(wildcards)}" if nodes(wildcards) > 1 else ""
        )
        return f"--signal=TERM@{SITE.grace_s}{spread}"

    def parallel(function):
        return on_site(lambda w, attempt: function(w) if gpus(w) > 1 else None)

    def launcher(wildcards, attempt):
        if not SITE or gpus(wildcards) == 1:
            return ""
        return (
            f"srun --nodes={nodes(wildcards)} --ntasks={gpus(wildcards)} "
            f"--ntasks-per-node={per_node(wildcards)} --cpus-per-task={SITE.cpus_per_gpu} "
            f"--gpus-per-node={per_node(wildcards)} --kill-on-bad-exit=0 --wait=60"
        )

    def mem_mb(wildcards, attempt):
        return int(1000 * SITE.mem_gb_per_gpu * per_node(wildcards)) if SITE else 2000

    def runtime(wildcards, attempt):
        return walltime.runtime_min(
            training_plan(job_of(wildcards)).hours, attempt, SITE
        )

    return {
        "device": SITE.device if SITE else "cpu",
        "save_every_s": 60 * SITE.save_every_min if SITE else 600,
        "train_flags": SITE.train_flags if SITE else "",
        "mem_mb": mem_mb,
        "launcher": launcher,
        "gpu": on_site(lambda w, attempt: gpus(w)),
        "nodes": parallel(nodes),
        "tasks_per_node": parallel(per_node),
        "mpi": parallel(lambda w: "srun"),
        "cpus_per_gpu": on_site(lambda w, attempt: SITE.cpus_per_gpu),
        "runtime": on_site(runtime),
        "slurm_extra": slurm_options(log, options),
        **queue(SITE and SITE.partition),
    }


# Other jobs -----------------------------------------------------------------------------------------------------------


def queue(partition):
    """Where jobs wait, and on whose account."""
    return {
        "slurm_partition": on_site(lambda w, attempt: partition),
        "slurm_account": on_site(lambda w, attempt: SITE.account),
        "qos": on_site(lambda w, attempt: SITE.qos),
    }


def minutes(expected, limit):
    """Walltime by attempt, at most `limit`; `expected` is a number or a function of the wildcards."""

    def runtime(wildcards, attempt):
        wanted = expected(wildcards) if callable(expected) else expected
        return min(limit, wanted * attempt)

    return on_site(runtime)


def gpu_resources(log, *, runtime):
    """A job on one GPU that takes about `runtime` minutes at most."""
    return {
        "device": SITE.device if SITE else "cpu",
        "launcher": "",
        "mem_mb": int(1000 * SITE.mem_gb_per_gpu) if SITE else 2000,
        "gpu": on_site(lambda w, attempt: 1),
        "cpus_per_gpu": on_site(lambda w, attempt: SITE.cpus_per_gpu),
        "runtime": minutes(runtime, SITE and SITE.max_walltime_min),
        "slurm_extra": slurm_options(log),
        **queue(SITE and SITE.partition),
    }


def cpu_resources(log, *, mem_mb, runtime):
    """A job without a GPU; numbers or functions of the wildcards, of which a second attempt gets more."""

    def memory(wildcards, attempt):
        return (mem_mb(wildcards) if callable(mem_mb) else mem_mb) * attempt

    return {
        "mem_mb": explained(memory),
        "runtime": minutes(runtime, SITE and SITE.cpu_walltime_min),
        "slurm_extra": slurm_options(log),
        **queue(SITE and (SITE.cpu_partition or SITE.partition)),
    }


def corpus_bytes(wildcards):
    """Text of a corpus at most; None where the study does not say."""
    if wildcards.corpus not in study.corpora:
        raise UserError(
            f"corpus {wildcards.corpus}: not in study {study.name}, which has {', '.join(study.corpora)}"
        )
    return study.corpora[wildcards.corpus].max_bytes


def prepare_mb(wildcards):
    return walltime.prepare_mb(corpus_bytes(wildcards))


def prepare_min(wildcards):
    return walltime.prepare_min(corpus_bytes(wildcards))


#: Processes that encode a corpus; the tokens do not depend on it. The paper's would take two days with one.
TOKENIZE_WORKERS = 8 if SITE else 1


def tokenize_min(wildcards):
    return walltime.tokenize_min(corpus_bytes(wildcards), workers=TOKENIZE_WORKERS)


def growth_mb(wildcards):
    run = paths.parse_run(wildcards.run)
    return walltime.convert_mb(disk.grown_bytes(design, run))


def export_mb(wildcards):
    return walltime.convert_mb(disk.checkpoint_bytes(design, branch_of(wildcards)))


def local_rules():
    """Rules that ask Slurm for nothing: seconds on a small file each, run beside the head instead of in the queue."""
    return [rule.name for rule in workflow.rules if "slurm_extra" not in rule.resources]


# The head -------------------------------------------------------------------------------------------------------------

HEAD = Head(f"{ROLLING}/head", study.name, logger.warning)


def jobs_of_this_run():
    """All jobs of this run with, for training jobs, segment or branch."""
    makers = {"train_trunk_segment": segment_of, "train_decay_branch": branch_of}
    for job in workflow.dag.needrun_jobs():
        yield job, (
            makers[job.rule.name](job.wildcards) if job.rule.name in makers else None
        )


def start_head():
    """Tell what is about to run, refuse what is too much, take the lock, settle what a dead head has left."""
    planned = list(jobs_of_this_run())
    training = [job for _, job in planned if job]
    gpu_hours = sum(training_plan(job).gpu_hours for job in training)
    size = sum(disk.checkpoint_bytes(design, job) for job in training)
    free = shutil.disk_usage(".").free
    logger.warning(
        f"study {study.name}: {len(planned)} jobs, {len(training)} of them training; about {gpu_hours:,.1f} GPU-hours; "
        f"{size / 1e9:,.1f} GB of checkpoints before any is released, {free / 1e9:,.0f} GB free"
    )
    if THROUGHPUT:
        logger.warning(
            f"walltimes by speeds measured on a {THROUGHPUT.device} ({SITE.throughput})"
        )
    if SITE.max_gpu_hours is not None and gpu_hours > SITE.max_gpu_hours:
        raise WorkflowError(
            f"study {study.name}: about {gpu_hours:,.1f} GPU-hours are above this site's limit, "
            f"max_gpu_hours: {SITE.max_gpu_hours:g}; ask for fewer targets, or raise it in the site file"
        )
    explained(HEAD.claim)()
    if explained(HEAD.settle_earlier_runs)():
        HEAD.release()
        logger.warning(
            f"study {study.name}: the earlier snakemake's jobs have ended; planning anew"
        )
        restart()
    for marker in Path(LOGS).rglob("*.bad-input"):
        marker.unlink()
    if hasattr(workflow.scheduler._executor, "run_uuid"):  # Slurm's
        HEAD.record(workflow.scheduler._executor.run_uuid)


onstart:
    stop_alarms(workflow.scheduler)
    if SITE:
        start_head()


onsuccess:
    if SITE:
        HEAD.release()


onerror:
    if SITE:
        HEAD.release()
