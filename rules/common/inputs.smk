# Input functions: the data, parents, checkpoints, evaluations and metrics that a job reads.


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
    """The checkpoint that a trunk segment starts from; none for the first segment of a stage-1 run."""
    return _parent(segment_of(wildcards))


@explained
def branch_parent(wildcards):
    """The checkpoint that a decay branch starts from; none if the branch is a complete stage-1 run (cosine)."""
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
    """Manifests of the corpora that the tokenizer is trained on; none if the study uses an existing tokenizer."""
    corpora = dataspecs.tokenizer_spec(study).corpora
    return [f"{RESULTS}/corpora/{corpus}/manifest.json" for corpus in corpora]


def tokenizer_file(wildcards):
    """The tokenizer.json that the study names; none if it is missing, so that a dry run works without it."""
    path = getattr(study.tokenizer, "path", None)
    return [path] if path and Path(path).is_file() else []


def least_train_tokens(wildcards):
    return jobs.least_split_tokens(design, wildcards.corpus)["train"]


def least_valid_tokens(wildcards):
    return jobs.least_split_tokens(design, wildcards.corpus)["valid"]


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
    """Metrics of every evaluated branch of one method (or `scratch`) at one size, and of its base checkpoints."""
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
    """Metrics of every job of the loss curves that figures draw: trunk segments and branches."""
    jobs = [
        job
        for branch in lookup.wanted_branches(design)
        for job in compared_methods.chain(design, branch)
    ]
    return [in_results(job.metrics) for job in dict.fromkeys(jobs)]


@explained
def joint_cells(wildcards):
    """The cells, if the joint law of the method can be fitted; otherwise an error."""
    laws_over_sizes.check_joint(study, wildcards.method)
    return CELLS


@explained
def scratch_cells(wildcards):
    """The cells, if the from-scratch law of the corpus can be fitted; otherwise an error."""
    laws_over_sizes.check_scratch(study, wildcards.corpus)
    return CELLS


@explained
def own_tasks(wildcards):
    """The files of benchmark tasks that the study defines; none if it uses those of the harness."""
    return downstream_specs.own_task_files(design)
