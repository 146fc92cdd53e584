# Pictures of the study itself, drawn from its file before anything is trained: Figure 2 and the rule graph with its job
# counts. `snakemake illustrations` draws both.


rule plot_figure_2:
    input:
        script=f"{SCRIPTS}/plot_illustration.py",
        code=library_code(
            "design/design.py",
            "design/trunk_points.py",
            "figures/figure_2.py",
            "figures/boxes.py",
            "figures/style.py",
        ),
    output:
        pdf=f"{RESULTS}/figures/figure-2.pdf",
        png=report(
            f"{RESULTS}/figures/figure-2.png",
            caption="../report/figure-2.rst",
            category="Figures",
            labels={"figure": "Figure 2"},
        ),
        csv=f"{RESULTS}/figures/figure-2.csv",
    log:
        f"{LOGS}/plot_figure_2.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        content=study_content(),
    message:
        "draw Figure 2"
    shell:
        "python {input.script} --figure figure-2 --study {params.study:q} --png {output.png} > {log} 2>&1"


rule plot_dag:
    input:
        script=f"{SCRIPTS}/plot_illustration.py",
        code=library_code(
            "corpora/dataspecs.py",
            "design/design.py",
            "exhibits/joint_design.py",
            "exhibits/presentation.py",
            "figures/boxes.py",
            "figures/dag.py",
            "figures/style.py",
            "design/trunk_points.py",
            "planning/dag.py",
        ),
    output:
        pdf=f"{RESULTS}/figures/dag.pdf",
        png=report(
            f"{RESULTS}/figures/dag.png",
            caption="../report/dag.rst",
            category="Figures",
            labels={"figure": "The DAG"},
        ),
        csv=f"{RESULTS}/figures/dag.csv",
    log:
        f"{LOGS}/plot_dag.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        content=study_content(),
    message:
        "draw the rule graph of study {study.name}"
    shell:
        "python {input.script} --figure dag --study {params.study:q} --png {output.png} > {log} 2>&1"


rule illustrations:
    input:
        rules.plot_figure_2.output,
        rules.plot_dag.output,
