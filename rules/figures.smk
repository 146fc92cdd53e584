# Figures of the study's own cells. Each writes PDF, PNG and the plotted numbers, and is drawn again, alone, when its
# code changes.


rule plot_figure_1:
    input:
        cells=rules.aggregate_cells.output.cells,
        fits=[in_results(path) for path in presentation.figure_fits(study, "figure-1")],
        script=f"{SCRIPTS}/plot_figure.py",
        code=library_code(
            "presentation.py",
            "figures/figure_1.py",
            "figures/curve_panel.py",
            "figures/style.py",
        ),
    output:
        pdf=f"{RESULTS}/figures/figure-1.pdf",
        png=report(
            f"{RESULTS}/figures/figure-1.png",
            caption="../report/figure-1.rst",
            category="Figures",
            labels={"figure": "Figure 1"},
        ),
        csv=f"{RESULTS}/figures/figure-1.csv",
    log:
        f"{LOGS}/plot_figure_1.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
    message:
        "draw Figure 1"
    shell:
        "python {input.script} --figure figure-1 --study {params.study} "
        "--cells {input.cells} --fits {input.fits} --png {output.png} > {log} 2>&1"


rule plot_figure_3:
    input:
        cells=rules.aggregate_cells.output.cells,
        fits=[in_results(path) for path in presentation.figure_fits(study, "figure-3")],
        script=f"{SCRIPTS}/plot_figure.py",
        code=library_code(
            "presentation.py",
            "figures/figure_3.py",
            "figures/curve_panel.py",
            "figures/style.py",
        ),
    output:
        pdf=f"{RESULTS}/figures/figure-3.pdf",
        png=report(
            f"{RESULTS}/figures/figure-3.png",
            caption="../report/figure-3.rst",
            category="Figures",
            labels={"figure": "Figure 3"},
        ),
        csv=f"{RESULTS}/figures/figure-3.csv",
    log:
        f"{LOGS}/plot_figure_3.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
    message:
        "draw Figure 3"
    shell:
        "python {input.script} --figure figure-3 --study {params.study} "
        "--cells {input.cells} --fits {input.fits} --png {output.png} > {log} 2>&1"


rule all_figures:
    input:
        all_released,
        expand(
            f"{RESULTS}/figures/{{figure}}.{{kind}}",
            figure=study.figures or ("figure-1", "figure-3"),
            kind=["pdf", "png", "csv"],
        ),
