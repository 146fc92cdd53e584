# Figures and tables: one rule for each declaration in src/twostage/catalogue (figure_entries.py, table_entries.py). A job runs
# again if its input files, its code or the settings that it shows change. One figure:
# snakemake --profile profiles/local -- results/<study>/figures/figure-1.png


for one in lookup.ALL:

    rule:
        name:
            one.rule_name
        input:
            **program("draw.py", one.module),
            sources=sources_of(one),
        output:
            **files_of(one),
        log:
            f"{ANALYSIS_LOGS}/{one.rule_name}.log",
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
        if imported_tables.unified_law_wanted(study)
        else [],
        CURVES if lookup.curves_wanted(study) else [],
        files_drawn("tables"),


# Illustrations of the study. They are drawn from the study file alone.
rule illustrations:
    input:
        rules.plot_figure_2.output,
        rules.plot_dag.output,


# Figures from the paper's printed coefficients. They need no study and have their own folder.
PUBLISHED_FIGURES = {
    name: entry.published for name, entry in lookup.FIGURES.items() if entry.published
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
