# Which checkpoints are deleted after use or made read-only. This is not part of a spec, so changing it retrains nothing.


@functools.cache
def released_checkpoints():
    """Return the checkpoints that are deleted after use: their manifest -> manifests of all planned jobs that read it."""
    return jobs.releases(design, jobs.planned_jobs(design))


def all_released(wildcards):
    if study.cells_table:
        return []
    return [
        in_results(f"{Path(manifest).parent}/released.json")
        for manifest in released_checkpoints()
    ]


@explained
def consumers_of_trunk(wildcards):
    return _consumers_of(segment_of(wildcards).manifest)


@explained
def consumers_of_grown(wildcards):
    return _consumers_of(paths.grown_manifest(paths.parse_run(wildcards.run)))


def _consumers_of(manifest):
    if manifest not in released_checkpoints():
        raise UserError(
            f"{manifest}: study {study.name} keeps this checkpoint; see its section `checkpoints`"
        )
    return [in_results(consumer) for consumer in released_checkpoints()[manifest]]


@explained
def segment_checkpoint_files(wildcards):
    return _checkpoint_files(segment_of(wildcards))


@explained
def branch_checkpoint_files(wildcards):
    return _checkpoint_files(branch_of(wildcards))


def _checkpoint_files(job):
    return "protect" if jobs.is_protected(design, job) else "keep"
