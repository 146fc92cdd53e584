# Laws over model sizes from the study's own cells (Eq. 7, and models from scratch), and Figures 4, 9, 10 and 11. They need
# three sizes over 4x in N; a study that asks for a figure without them is refused when it is read.


LAWS_CODE = [f"laws/{path.name}" for path in sorted(Path(LIBRARY, "laws").glob("*.py"))]
JOINT_FIT_CODE = library_code("cells.py", "joint_fit.py", "cli/fit_file.py", *LAWS_CODE)
JOINT_FIGURE_CODE = [
    "joint_design.py",
    "joint_fit.py",
    "figures/from_fits.py",
    "figures/notes.py",
    "figures/style.py",
    *LAWS_CODE,
]


# fit_law's pattern, fits/<method>/<model>.json, holds these paths too; no method may be called joint or scratch.
ruleorder: fit_joint_law > fit_law
ruleorder: fit_scratch_law > fit_law


rule fit_joint_law:
    input:
        cells=joint_cells,
        script=f"{SCRIPTS}/fit_joint_law.py",
        code=JOINT_FIT_CODE,
    output:
        f"{RESULTS}/fits/joint/{{method}}.json",
    log:
        f"{LOGS}/fit_joint_law/{{method}}.log",
    wildcard_constraints:
        method=r"[^/]+",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        delta=study.laws.huber_delta,
    message:
        "fit the joint law of {wildcards.method}"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --cells {input.cells} "
        "--method {wildcards.method} --delta {params.delta} --out {output} > {log} 2>&1"


rule fit_scratch_law:
    input:
        cells=scratch_cells,
        script=f"{SCRIPTS}/fit_joint_law.py",
        code=JOINT_FIT_CODE,
    output:
        f"{RESULTS}/fits/scratch/{{corpus}}.json",
    log:
        f"{LOGS}/fit_scratch_law/{{corpus}}.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        delta=study.laws.huber_delta,
    message:
        "fit the law of models trained from scratch on {wildcards.corpus}"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --cells {input.cells} "
        "--scratch {wildcards.corpus} --delta {params.delta} --out {output} > {log} 2>&1"


rule plot_figure_4_left:
    input:
        fits=joint_fits("figure-4-left"),
        script=f"{SCRIPTS}/plot_joint_figure.py",
        code=library_code(
            "figures/figure_4_left.py",
            "figures/extrapolation_panel.py",
            *JOINT_FIGURE_CODE,
        ),
    output:
        pdf=f"{RESULTS}/figures/figure-4-left.pdf",
        png=report(
            f"{RESULTS}/figures/figure-4-left.png",
            caption="../report/figure-4-left.rst",
            category="Figures",
            labels={"figure": "Figure 4 (left)"},
        ),
        csv=f"{RESULTS}/figures/figure-4-left.csv",
    log:
        f"{LOGS}/plot_figure_4_left.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
    message:
        "draw Figure 4 (left)"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --figure figure-4-left --study {params.study} "
        "--fits {input.fits} --png {output.png} > {log} 2>&1"


rule plot_figure_4_right:
    input:
        fits=joint_fits("figure-4-right"),
        script=f"{SCRIPTS}/plot_joint_figure.py",
        code=library_code("figures/figure_4_right.py", *JOINT_FIGURE_CODE),
    output:
        pdf=f"{RESULTS}/figures/figure-4-right.pdf",
        png=report(
            f"{RESULTS}/figures/figure-4-right.png",
            caption="../report/figure-4-right.rst",
            category="Figures",
            labels={"figure": "Figure 4 (right)"},
        ),
        csv=f"{RESULTS}/figures/figure-4-right.csv",
    log:
        f"{LOGS}/plot_figure_4_right.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
    message:
        "draw Figure 4 (right)"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --figure figure-4-right --study {params.study} "
        "--fits {input.fits} --png {output.png} > {log} 2>&1"


rule plot_figure_9:
    input:
        fits=joint_fits("figure-9"),
        script=f"{SCRIPTS}/plot_joint_figure.py",
        code=library_code(
            "figures/figure_9.py", "figures/extrapolation_panel.py", *JOINT_FIGURE_CODE
        ),
    output:
        pdf=f"{RESULTS}/figures/figure-9.pdf",
        png=report(
            f"{RESULTS}/figures/figure-9.png",
            caption="../report/figure-9.rst",
            category="Figures",
            labels={"figure": "Figure 9"},
        ),
        csv=f"{RESULTS}/figures/figure-9.csv",
    log:
        f"{LOGS}/plot_figure_9.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
    message:
        "draw Figure 9"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --figure figure-9 --study {params.study} "
        "--fits {input.fits} --png {output.png} > {log} 2>&1"


rule plot_figure_10:
    input:
        fits=joint_fits("figure-10"),
        script=f"{SCRIPTS}/plot_joint_figure.py",
        code=library_code(
            "figures/figure_10.py", "figures/catch_up_panels.py", *JOINT_FIGURE_CODE
        ),
    output:
        pdf=f"{RESULTS}/figures/figure-10.pdf",
        png=report(
            f"{RESULTS}/figures/figure-10.png",
            caption="../report/figure-10.rst",
            category="Figures",
            labels={"figure": "Figure 10"},
        ),
        csv=f"{RESULTS}/figures/figure-10.csv",
    log:
        f"{LOGS}/plot_figure_10.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        n_final=study.laws.catch_up_n_final,
    message:
        "draw Figure 10"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --figure figure-10 --study {params.study} "
        "--fits {input.fits} --png {output.png} > {log} 2>&1"


rule plot_figure_11:
    input:
        fits=joint_fits("figure-11"),
        script=f"{SCRIPTS}/plot_joint_figure.py",
        code=library_code(
            "figures/figure_11.py", "figures/catch_up_panels.py", *JOINT_FIGURE_CODE
        ),
    output:
        pdf=f"{RESULTS}/figures/figure-11.pdf",
        png=report(
            f"{RESULTS}/figures/figure-11.png",
            caption="../report/figure-11.rst",
            category="Figures",
            labels={"figure": "Figure 11"},
        ),
        csv=f"{RESULTS}/figures/figure-11.csv",
    log:
        f"{LOGS}/plot_figure_11.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        n_final=study.laws.catch_up_n_final,
    message:
        "draw Figure 11"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --figure figure-11 --study {params.study} "
        "--fits {input.fits} --png {output.png} > {log} 2>&1"
