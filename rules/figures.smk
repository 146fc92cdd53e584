# Figures of the study's own cells, fits and loss curves. Each writes PDF, PNG and the plotted numbers, and is drawn
# again, alone, when its code changes. One figure: snakemake results/<study>/figures/figure-1.png. All rules are the
# first with other inputs; which of them a study can draw is decided in src/twostage/exhibits/catalogue.py.


rule plot_figure_1:
    input:
        **figure_input("figure-1", "figures/figure_1.py", "figures/curve_panel.py"),
    output:
        **figure_output("figure-1"),
    log:
        f"{LOGS}/plot_figure_1.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        shown=figure_choice("figure-1"),
        figure="figure-1",
    message:
        "draw Figure 1"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --figure {params.figure} --study {params.study} "
        "--cells {input.cells} --curves {input.curves} --fits {input.fits} --png {output.png} > {log} 2>&1"


use rule plot_figure_1 as plot_figure_3 with:
    input:
        **figure_input("figure-3", "figures/figure_3.py", "figures/curve_panel.py"),
    output:
        **figure_output("figure-3"),
    log:
        f"{LOGS}/plot_figure_3.log",
    params:
        shown=figure_choice("figure-3"),
        figure="figure-3",
    message:
        "draw Figure 3"


use rule plot_figure_1 as plot_figure_8 with:
    input:
        **figure_input("figure-8", "figures/figure_3.py", "figures/curve_panel.py"),
    output:
        **figure_output("figure-8"),
    log:
        f"{LOGS}/plot_figure_8.log",
    params:
        shown=figure_choice("figure-8"),
        figure="figure-8",
    message:
        "draw Figure 8"


use rule plot_figure_1 as plot_figure_5 with:
    input:
        **figure_input("figure-5", "figures/figure_5.py", *CURVES_CODE),
    output:
        **figure_output("figure-5"),
    log:
        f"{LOGS}/plot_figure_5.log",
    params:
        shown=figure_choice("figure-5"),
        figure="figure-5",
    message:
        "draw Figure 5"


use rule plot_figure_1 as plot_figure_6 with:
    input:
        **figure_input("figure-6", "figures/figures_6_7.py", *CURVES_CODE),
    output:
        **figure_output("figure-6"),
    log:
        f"{LOGS}/plot_figure_6.log",
    params:
        shown=figure_choice("figure-6"),
        figure="figure-6",
    message:
        "draw Figure 6"


use rule plot_figure_1 as plot_figure_7 with:
    input:
        **figure_input("figure-7", "figures/figures_6_7.py", *CURVES_CODE),
    output:
        **figure_output("figure-7"),
    log:
        f"{LOGS}/plot_figure_7.log",
    params:
        shown=figure_choice("figure-7"),
        figure="figure-7",
    message:
        "draw Figure 7"


use rule plot_figure_1 as plot_gradient_norm with:
    input:
        **figure_input(
            "gradient-norm",
            "analysis/norm_slope.py",
            "exhibits/comparisons.py",
            "figures/gradient_norm.py",
            "figures/curve_panel.py",
        ),
    output:
        **figure_output("gradient-norm"),
    log:
        f"{LOGS}/plot_gradient_norm.log",
    params:
        shown=figure_choice("gradient-norm"),
        figure="gradient-norm",
    message:
        "draw gradient norms"


use rule plot_figure_1 as plot_crossover with:
    input:
        **figure_input(
            "crossover",
            "figures/crossover.py",
            "figures/curve_panel.py",
            *CROSSOVER_CODE,
        ),
    output:
        **figure_output("crossover"),
    log:
        f"{LOGS}/plot_crossover.log",
    params:
        shown=figure_choice("crossover"),
        figure="crossover",
    message:
        "draw the measured crossover"


use rule plot_figure_1 as plot_figure_4_left with:
    input:
        **figure_input(
            "figure-4-left",
            "figures/figure_4_left.py",
            "figures/extrapolation_panel.py",
            *OVER_SIZES_CODE,
        ),
    output:
        **figure_output("figure-4-left"),
    log:
        f"{LOGS}/plot_figure_4_left.log",
    params:
        shown=figure_choice("figure-4-left"),
        figure="figure-4-left",
    message:
        "draw Figure 4 (left)"


use rule plot_figure_1 as plot_figure_9 with:
    input:
        **figure_input(
            "figure-9",
            "figures/figure_9.py",
            "figures/extrapolation_panel.py",
            *OVER_SIZES_CODE,
        ),
    output:
        **figure_output("figure-9"),
    log:
        f"{LOGS}/plot_figure_9.log",
    params:
        shown=figure_choice("figure-9"),
        figure="figure-9",
    message:
        "draw Figure 9"


use rule plot_figure_1 as plot_figure_4_right with:
    input:
        **figure_input("figure-4-right", "figures/figure_4_right.py", *OVER_SIZES_CODE),
    output:
        **figure_output("figure-4-right"),
    log:
        f"{LOGS}/plot_figure_4_right.log",
    params:
        shown=figure_choice("figure-4-right"),
        figure="figure-4-right",
    message:
        "draw Figure 4 (right)"


use rule plot_figure_1 as plot_figure_10 with:
    input:
        **figure_input(
            "figure-10",
            "figures/figure_10.py",
            "figures/catch_up_panels.py",
            *OVER_SIZES_CODE,
        ),
    output:
        **figure_output("figure-10"),
    log:
        f"{LOGS}/plot_figure_10.log",
    params:
        shown=figure_choice("figure-10"),
        figure="figure-10",
    message:
        "draw Figure 10"


use rule plot_figure_1 as plot_figure_11 with:
    input:
        **figure_input(
            "figure-11",
            "figures/figure_11.py",
            "figures/catch_up_panels.py",
            *OVER_SIZES_CODE,
        ),
    output:
        **figure_output("figure-11"),
    log:
        f"{LOGS}/plot_figure_11.log",
    params:
        shown=figure_choice("figure-11"),
        figure="figure-11",
    message:
        "draw Figure 11"


rule all_figures:
    input:
        all_released,
        expand(
            f"{RESULTS}/figures/{{figure}}.{{kind}}",
            figure=catalogue.drawable_figures(study),
            kind=["pdf", "png", "csv"],
        ),
        rules.list_not_drawn.output,
