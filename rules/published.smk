# Figures 4 (right), 10 and 11 from the coefficients the paper printed: `snakemake published_figures` needs no training.
# They never satisfy all_figures, whose points all trace to an evaluation of this study.
PUBLISHED_FIGURES = "results/figures-published"
PUBLISHED_FIGURE_NAMES = ["figure-4-right", "figure-10", "figure-11"]


rule plot_published:
    input:
        table=f"{PUBLISHED}/table_8.csv",
        text=f"{PUBLISHED}/text.csv",
        script=f"{SCRIPTS}/plot_published.py",
        module=lambda wildcards: library_code(
            f"figures/{wildcards.figure.replace('-', '_')}.py"
        ),
        code=library_code(
            "figures/published.py",
            "figures/catch_up_panels.py",
            "figures/notes.py",
            "figures/style.py",
            "laws/curves.py",
            "laws/crossover.py",
            "paper/published.py",
        ),
    output:
        pdf=f"{PUBLISHED_FIGURES}/{{figure}}.pdf",
        png=f"{PUBLISHED_FIGURES}/{{figure}}.png",
        csv=f"{PUBLISHED_FIGURES}/{{figure}}.csv",
    log:
        f"{PUBLISHED_FIGURES}/logs/{{figure}}.log",
    wildcard_constraints:
        figure="|".join(PUBLISHED_FIGURE_NAMES),
    threads: 1
    resources:
        mem_mb=1000,
    params:
        published=subpath(input.table, parent=True),
        stem=subpath(output.png, strip_suffix=".png"),
    message:
        "draw {wildcards.figure} from the published coefficients"
    shell:
        "python {input.script} --figure {wildcards.figure} --published {params.published:q} "
        "--stem {params.stem:q} > {log} 2>&1"


rule published_figures:
    input:
        expand(
            f"{PUBLISHED_FIGURES}/{{figure}}.{{kind}}",
            figure=PUBLISHED_FIGURE_NAMES,
            kind=["pdf", "png", "csv"],
        ),
