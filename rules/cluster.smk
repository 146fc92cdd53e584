# Execution on a cluster: the Slurm resources of each job, and the lock of the Snakemake process (head) of a study. Nothing
# here is part of a job's identity. Without a `site:` section (profiles/slurm/site.yaml), these resources do not exist.
import functools
import json
import shutil

from snakemake.logging import logger

from twostage.cluster.head import Head, remove_rate_limit, restart
from twostage.cluster.site import parse_site
from twostage.cluster.supervise import bad_input_marker
from twostage.planning import disk, walltime
from twostage.planning.throughput import load_site_throughput

SITE = explained(parse_site)(config.get("site"))
THROUGHPUT = explained(load_site_throughput)(SITE) if SITE else None


# Training jobs --------------------------------------------------------------------------------------------------------


@functools.cache
def training_size(job):
    """Return architecture, tokens and batch size of a segment or branch."""
    batch_size = study.models[job.run.model].batch_size
    return design.architecture(job.run), design.job_tokens(job), batch_size


@functools.cache
def measured_speed(architecture):
    """Return tokens per second of one GPU by the site's benchmark; None, with a warning, if this size was not measured."""
    if not THROUGHPUT:
        return None
    gap = THROUGHPUT.gap(architecture.n_params, study.recipe.precision)
    if gap:
        logger.warning(
            f"site.throughput: no speed for a model of {architecture.n_params:,} parameters ({gap}); "
            f"its walltime is estimated from assumed_mfu: {SITE.assumed_mfu:g}"
        )
        return None
    return THROUGHPUT.tokens_per_s(architecture)


def training_plan(job):
    """Return GPUs and hours of a job. If its parent has been trained, its measured speed is used."""
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
    """Wrap a resource function: the resource exists only if there is a site."""

    @explained
    def resource(wildcards, attempt):
        return function(wildcards, attempt) if SITE else None

    return resource


def slurm_options(log, function=lambda wildcards: ""):
    """Return a function for sbatch options for which the Slurm plugin has no resource.

    After invalid input, the next attempt gets an option that does not exist. Then sbatch rejects it with a message that
    contains this option, and the other jobs continue.
    """

    def options(wildcards, attempt):
        if attempt > 1 and bad_input_marker(log.format(**wildcards)).is_file():
            return "--bad-input-is-not-submitted-again"
        return function(wildcards)

    return on_site(options)


def training_resources(job_of, log):
    """Return the resources of a training job. `job_of` returns the job of wildcards, `log` is the log of the rule."""

    def gpus(wildcards):
        return walltime.plan_training(*training_size(job_of(wildcards)), SITE).gpus

    def nodes(wildcards):
        return walltime.nodes_for(gpus(wildcards), SITE)

    def per_node(wildcards):
        return gpus(wildcards) // nodes(wildcards)

    def options(wildcards):
        # SIGTERM early enough to save. Without --gpus-per-node, Slurm could distribute the GPUs unevenly.
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
    """Return the resources for partition, account and quality of service."""
    return {
        "slurm_partition": on_site(lambda w, attempt: partition),
        "slurm_account": on_site(lambda w, attempt: SITE.account),
        "qos": on_site(lambda w, attempt: SITE.qos),
    }


def minutes(expected, limit):
    """Return a function for the walltime: `expected` (a number or a function of wildcards) times attempt, at most `limit`."""

    def runtime(wildcards, attempt):
        wanted = expected(wildcards) if callable(expected) else expected
        return min(limit, wanted * attempt)

    return on_site(runtime)


def gpu_resources(log, *, runtime):
    """Return the resources of a job on one GPU that takes up to about `runtime` minutes."""
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
    """Return the resources of a job without a GPU. Arguments are numbers or functions of wildcards; retries get more."""

    def memory(wildcards, attempt):
        return (mem_mb(wildcards) if callable(mem_mb) else mem_mb) * attempt

    return {
        "mem_mb": explained(memory),
        "runtime": minutes(runtime, SITE and SITE.cpu_walltime_min),
        "slurm_extra": slurm_options(log),
        **queue(SITE and (SITE.cpu_partition or SITE.partition)),
    }


def corpus_bytes(wildcards):
    """Return the largest size of a corpus's text; None if the study does not limit it."""
    if wildcards.corpus not in study.corpora:
        raise UserError(
            f"corpus {wildcards.corpus}: not in study {study.name}; choose one of {', '.join(study.corpora)}"
        )
    return study.corpora[wildcards.corpus].max_bytes


def prepare_mb(wildcards):
    return walltime.prepare_mb(corpus_bytes(wildcards))


def prepare_min(wildcards):
    return walltime.prepare_min(corpus_bytes(wildcards))


#: Processes that encode a corpus. The tokens do not depend on it. One process would take two days for the paper's corpora.
TOKENIZE_WORKERS = 8 if SITE else 1


def tokenize_min(wildcards):
    return walltime.tokenize_min(corpus_bytes(wildcards), workers=TOKENIZE_WORKERS)


def growth_mb(wildcards):
    run = paths.parse_run(wildcards.run)
    return walltime.convert_mb(disk.grown_bytes(design, run))


def export_mb(wildcards):
    return walltime.convert_mb(disk.checkpoint_bytes(design, branch_of(wildcards)))


def local_rules():
    """Return the rules without Slurm resources. Their jobs take seconds and run on the machine of the head, not in the queue."""
    return [rule.name for rule in workflow.rules if "slurm_extra" not in rule.resources]


# The head -------------------------------------------------------------------------------------------------------------

HEAD = Head(f"{ROLLING}/head", study.name, logger.warning)


def jobs_of_this_run():
    """Yield each job of this run, with its segment or branch for a training job, else None."""
    makers = {"train_trunk_segment": segment_of, "train_decay_branch": branch_of}
    for job in workflow.dag.needrun_jobs():
        yield job, (
            makers[job.rule.name](job.wildcards) if job.rule.name in makers else None
        )


def start_head():
    """Report the planned jobs, check `max_gpu_hours`, take the lock, and wait for the jobs of a killed head."""
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
            f"walltimes are estimated from speeds measured on a {THROUGHPUT.device} ({SITE.throughput})"
        )
    if SITE.max_gpu_hours is not None and gpu_hours > SITE.max_gpu_hours:
        raise WorkflowError(
            f"study {study.name}: about {gpu_hours:,.1f} GPU-hours exceed this site's limit, "
            f"max_gpu_hours: {SITE.max_gpu_hours:g}; request fewer targets, or raise it in the site file"
        )
    explained(HEAD.claim)()
    if explained(HEAD.settle_earlier_runs)():
        HEAD.release()
        logger.warning(
            f"study {study.name}: the jobs of the earlier snakemake have ended; planning again"
        )
        restart()
    for marker in Path(LOGS).rglob("*.bad-input"):
        marker.unlink()
    if hasattr(workflow.scheduler._executor, "run_uuid"):  # the Slurm executor
        HEAD.record(workflow.scheduler._executor.run_uuid)


onstart:
    refuse_retraining([job for _, job in jobs_of_this_run() if job])
    remove_rate_limit(workflow.scheduler)
    if SITE:
        start_head()


def end_run():
    RECORDS.save_cheap()
    if SITE:
        HEAD.release()


onsuccess:
    end_run()


onerror:
    end_run()
