# The spec of each job (params.spec): everything that changes its numbers, as canonical JSON; see
# src/twostage/design/specs.py. If it changes, Snakemake runs the job again.


@explained
def corpus_spec(wildcards):
    return dataspecs.corpus_spec(study, wildcards.corpus).canonical()


def tokenizer_spec(wildcards):
    return dataspecs.tokenizer_spec(study).canonical()


def tokenize_spec(wildcards):
    return dataspecs.TokenizeSpec().canonical()


@explained
def segment_spec(wildcards):
    return specs.segment_spec(design, segment_of(wildcards)).canonical()


@explained
def branch_spec(wildcards):
    return specs.branch_spec(design, branch_of(wildcards)).canonical()


@explained
def growth_spec(wildcards):
    return specs.grow_spec(design, paths.parse_run(wildcards.run)).canonical()


@explained
def evaluation_spec(wildcards):
    return specs.evaluate_spec(
        design, branch_of(wildcards), wildcards.corpus
    ).canonical()


def export_spec(wildcards):
    return downstream_specs.ExportSpec().canonical()


@explained
def downstream_spec(wildcards):
    return downstream_specs.downstream_spec(design).canonical()


@explained
def task_folder_option(wildcards):
    folder = downstream_specs.section(design).task_folder
    return f"--task-folder {shlex.quote(folder)}" if folder else ""
