# Which files a job needs: data, parents, checkpoints to evaluate, the evaluations and fits behind a result.


@explained
def training_data(wildcards):
    """Manifests of the run's corpora, in the order of its mixture."""
    run = paths.parse_run(wildcards.run)
    return [in_results(paths.tokens_manifest(corpus)) for corpus in design.mixture(run)]


def _parent(job):
    manifest = design.parent_manifest(job)
    return [] if manifest is None else in_results(manifest)


@explained
def segment_parent(wildcards):
    """The checkpoint a trunk segment starts from; none where a stage-1 run begins."""
    return _parent(segment_of(wildcards))


@explained
def branch_parent(wildcards):
    """The checkpoint a decay branch starts from; none where it is a whole stage-1 run."""
    return _parent(branch_of(wildcards))


@explained
def growth_base(wildcards):
    return in_results(design.base(paths.parse_run(wildcards.run)).manifest)


@explained
def evaluated_checkpoint(wildcards):
    branch = branch_of(wildcards)
    design.branch_steps(branch)
    return in_results(branch.manifest)


def tokenizer_corpora(wildcards):
    """Manifests of the corpora that the tokenizer is trained on, in the study's order; none for an existing file."""
    corpora = dataspecs.tokenizer_spec(study).corpora
    return [f"{RESULTS}/corpora/{corpus}/manifest.json" for corpus in corpora]


def tokenizer_file(wildcards):
    """The study's own tokenizer.json; not yet an input where it is missing, so that a plan can be made without it."""
    path = getattr(study.tokenizer, "path", None)
    return [path] if path and Path(path).is_file() else []


def evaluated_tokens(wildcards):
    return in_results(paths.tokens_manifest(wildcards.corpus))


def all_evaluations(wildcards):
    return [in_results(cell.path) for cell in jobs.measured_cells(design)]


def all_metrics(wildcards):
    """The metrics of every evaluated branch, each once."""
    return [
        in_results(branch.metrics)
        for branch in dict.fromkeys(cell.branch for cell in jobs.measured_cells(design))
    ]


@explained
def method_branches(wildcards):
    """Every evaluated branch of one method (or `scratch`) at one size, and the base checkpoints it starts from."""
    branches = dict.fromkeys(
        cell.branch for cell in design.cells_of(wildcards.method, wildcards.model)
    )
    runs = dict.fromkeys(branch.run for branch in branches if branch.run.stage == 2)
    return [in_results(job.metrics) for job in [*branches, *map(design.base, runs)]]


@explained
def method_evaluations(wildcards):
    cells = design.cells_of(wildcards.method, wildcards.model)
    excluded = {entry.cell for entry in study.excluded_cells}
    return [in_results(cell.path) for cell in cells if cell.path not in excluded]


def curve_metrics(wildcards):
    """The metrics of every job of their curves: trunk segments, then the branch."""
    jobs = [
        job
        for branch in catalogue.wanted_branches(design)
        for job in comparisons.chain(design, branch)
    ]
    return [in_results(job.metrics) for job in dict.fromkeys(jobs)]


@explained
def joint_cells(wildcards):
    """The cells, for a method whose joint law can be fitted."""
    joint_design.check_joint(study, wildcards.method)
    return CELLS


@explained
def scratch_cells(wildcards):
    """The cells, for a corpus whose from-scratch law can be fitted."""
    joint_design.check_scratch(study, wildcards.corpus)
    return CELLS


@explained
def own_tasks(wildcards):
    """Every file of the study's own benchmark tasks; none where it uses the harness's."""
    return downstream_specs.own_task_files(design)
