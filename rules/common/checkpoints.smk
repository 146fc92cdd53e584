# What becomes of checkpoints: never part of an identity, so another policy trains nothing again.


@functools.cache
def released_checkpoints():
    """Manifests whose payload is deleted once used -> the manifests of every job planned from it."""
    return jobs.releases(design, jobs.planned_jobs(design))


def all_released(wildcards):
    if study.cells_table:
        return []
    return [
        in_results(f"{Path(manifest).parent}/released.json")
        for manifest in released_checkpoints()
    ]


@explained
def users_of_trunk(wildcards):
    return _users_of(segment_of(wildcards).manifest)


@explained
def users_of_grown(wildcards):
    return _users_of(paths.grown_manifest(paths.parse_run(wildcards.run)))


def _users_of(manifest):
    if manifest not in released_checkpoints():
        raise UserError(
            f"{manifest}: study {study.name} keeps this checkpoint; see its section `checkpoints`"
        )
    return [in_results(user) for user in released_checkpoints()[manifest]]


@explained
def segment_payload(wildcards):
    return _payload(segment_of(wildcards))


@explained
def branch_payload(wildcards):
    return _payload(branch_of(wildcards))


def _payload(job):
    return "protect" if jobs.is_protected(design, job) else "keep"
