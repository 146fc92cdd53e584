# Laws and curves fitted to the cells: a fit file for each method and base model, laws over model sizes, and one law over
# both stages. They take seconds, so they list their code as inputs and run again when it changes.


# fit_law's pattern, fits/<method>/<model>.json, also matches these paths; no method may be called joint or scratch.
ruleorder: fit_joint_law > fit_law
ruleorder: fit_scratch_law > fit_law


rule fit_law:
    input:
        **program("fit_law.py"),
        cells=CELLS,
    output:
        f"{ANALYSIS}/fits/{{method}}/{{model}}.json",
    log:
        f"{ANALYSIS_LOGS}/fit_law/{{method}}/{{model}}.log",
    wildcard_constraints:
        method=r"[^/]+",
        model=r"[^/]+",
    resources:
        mem_mb=1000,
    params:
        delta=study.laws.huber_delta,
        law=f"method {{method}} {{model}} --forms {' '.join(study.laws.forms)}",
    message:
        "fit laws and curves of {wildcards.method} on {wildcards.model}"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --cells {input.cells} "
        "--delta {params.delta} --out {output} {params.law} > {log} 2>&1"


use rule fit_law as fit_joint_law with:
    input:
        **program("fit_law.py"),
        cells=joint_cells,
    output:
        f"{ANALYSIS}/fits/joint/{{method}}.json",
    log:
        f"{ANALYSIS_LOGS}/fit_joint_law/{{method}}.log",
    params:
        delta=study.laws.huber_delta,
        law="joint {method}",
    message:
        "fit the joint law of {wildcards.method}"


use rule fit_law as fit_scratch_law with:
    input:
        **program("fit_law.py"),
        cells=scratch_cells,
    output:
        f"{ANALYSIS}/fits/scratch/{{corpus}}.json",
    log:
        f"{ANALYSIS_LOGS}/fit_scratch_law/{{corpus}}.log",
    params:
        delta=study.laws.huber_delta,
        law="scratch {corpus}",
    message:
        "fit the law of models trained from scratch on {wildcards.corpus}"


use rule fit_law as fit_unified_law with:
    input:
        **program("fit_law.py"),
        cells=CELLS,
        base_cells=BASE_CELLS,
    output:
        report(
            f"{ANALYSIS}/tables/unified-law.csv",
            caption="../report/unified-law.rst",
            category="Tables",
            labels={"table": "One law over both stages"},
        ),
    log:
        f"{ANALYSIS_LOGS}/fit_unified_law.log",
    params:
        delta=study.laws.huber_delta,
        law=f"unified {BASE_CELLS}",
    message:
        "fit one law over both stages (appendix D.3)"
