# When is a pretrained language model worth training again? One study file, one DAG:
#
#   prepare_corpus -> train_tokenizer -> tokenize_corpus
#     -> train_trunk_segment -> train_decay_branch            stage 1: the base model at D1
#     -> grow_checkpoint                                      growth methods only
#     -> train_trunk_segment -> train_decay_branch            stage 2: the model at D2
#     -> evaluate_checkpoint -> aggregate_cells -> fit_law -> make_table_*, plot_figure_*
#
# Start with `make figures`; on a cluster `snakemake --profile profiles/slurm all_figures`.
from snakemake.utils import min_version

min_version("9.27")


# `--config study=config/mine.yaml` selects another study. A study file can build on another one with its key `extends`.
config.setdefault("study", "config/tiny.yaml")


# Jobs can run in this image, made from envs/twostage.def (--software-deployment-method apptainer; NOT RUN yet).
container: "envs/twostage.sif"


include: "rules/common.smk"
include: "rules/cluster.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/grow.smk"
include: "rules/evaluate.smk"
include: "rules/downstream.smk"
include: "rules/release.smk"
include: "rules/imported.smk" if study.cells_table else "rules/cells.smk"
include: "rules/analysis.smk"
include: "rules/figures_and_tables.smk"
include: "rules/toy.smk"


report: "report/workflow.rst"


rule all:
    default_target: True
    input:
        rules.all_figures.input,
        rules.all_tables.input,


# On a cluster, what takes seconds runs on the head's machine.
if SITE:
    workflow.localrules(*local_rules())
