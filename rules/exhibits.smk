# Figures and tables, one rule for each declaration in src/twostage/exhibits (figure_entries.py, table_entries.py). A figure or
# table is made again if its input files, its code or its part of the study changes.
# One figure: snakemake results/<study>/figures/figure-1.png. The files of a figure are PDF, PNG
# and the plotted numbers (CSV); those of a table are its numbers (CSV) and a page for the report (HTML).


for one in catalogue.ALL:

    rule:
        name:
            one.rule_name
        input:
            **program("draw.py", one.module),
            sources=sources_of(one),
        output:
            **files_of(one),
        log:
            f"{LOGS}/{one.rule_name}.log",
        threads: 1
        resources:
            mem_mb=1000,
        params:
            draw=one.draw,
            caption=one.caption.strip(),
            study=STUDY_FILE,
            shown=[] if one.lacks(study) else one.choice(study),
        message:
            one.message or f"{'draw' if one.key == 'figures' else 'make'} {one.title}"
        shell:
            "OMP_NUM_THREADS={threads} python {input.script} {params.draw} --study {params.study:q} "
            "--reads {input.sources} --out {output} > {log} 2>&1"


rule all_figures:
    input:
        all_released,
        files_drawn("figures"),
        rules.list_not_drawn.output,


rule all_tables:
    input:
        all_released,
        CELLS,
        [BASE_CELLS, rules.fit_unified_law.output]
        if given_tables.unified_law_wanted(study)
        else [],
        CURVES if catalogue.curves_wanted(study) else [],
        files_drawn("tables"),


# Figures that need only the study file.
rule illustrations:
    input:
        rules.plot_figure_2.output,
        rules.plot_dag.output,


# Figures from the coefficients that the paper prints. They use no results of a study.
PUBLISHED_FIGURES = {
    name: entry.published
    for name, entry in catalogue.FIGURES.items()
    if entry.published
}


rule plot_published:
    input:
        **program("draw.py", "twostage.figures.published"),
    output:
        multiext("results/figures-published/{figure}", ".pdf", ".png", ".csv"),
    log:
        "results/figures-published/logs/{figure}.log",
    wildcard_constraints:
        figure="|".join(PUBLISHED_FIGURES),
    resources:
        mem_mb=1000,
    params:
        draw=lambda wildcards: PUBLISHED_FIGURES[wildcards.figure],
    message:
        "draw {wildcards.figure} from the published coefficients"
    shell:
        "python {input.script} {params.draw} --out {output} > {log} 2>&1"


rule published_figures:
    input:
        expand(
            "results/figures-published/{figure}.{kind}",
            figure=PUBLISHED_FIGURES,
            kind=["pdf", "png", "csv"],
        ),
