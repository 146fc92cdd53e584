# Laws and curves fitted to the cells: a fit file for each method and base model, laws over model sizes, one law over
# both stages, and the comparison with models from scratch. They take seconds, so they list their code as inputs and are run again when it changes.


# fit_law's pattern, fits/<method>/<model>.json, holds these paths too; no method may be called joint or scratch.
ruleorder: fit_joint_law > fit_law
ruleorder: fit_scratch_law > fit_law


rule fit_law:
    input:
        cells=CELLS,
        script=f"{SCRIPTS}/fit_law.py",
        code=library_code(
            "analysis/cells.py",
            "analysis/method_fit.py",
            "analysis/power_laws.py",
            "analysis/power_law_solver.py",
            *LAWS_CODE,
        ),
    output:
        f"{RESULTS}/fits/{{method}}/{{model}}.json",
    log:
        f"{LOGS}/fit_law/{{method}}/{{model}}.log",
    wildcard_constraints:
        method=r"[^/]+",
        model=r"[^/]+",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        forms=study.laws.forms,
        delta=study.laws.huber_delta,
    message:
        "fit laws and curves of {wildcards.method} on {wildcards.model}"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --cells {input.cells} "
        "--method {wildcards.method} --model {wildcards.model} "
        "--forms {params.forms} --delta {params.delta} --out {output} > {log} 2>&1"


rule fit_joint_law:
    input:
        cells=joint_cells,
        script=f"{SCRIPTS}/fit_joint_law.py",
        code=library_code("analysis/cells.py", "analysis/joint_fit.py", *LAWS_CODE),
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
        code=library_code("analysis/cells.py", "analysis/joint_fit.py", *LAWS_CODE),
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


rule fit_unified_law:
    input:
        cells=CELLS,
        base_cells=BASE_CELLS,
        script=f"{SCRIPTS}/fit_unified_law.py",
        code=library_code("analysis/cells.py", "analysis/unified_fit.py", *LAWS_CODE),
    output:
        report(
            f"{RESULTS}/tables/unified-law.csv",
            caption="../report/unified-law.rst",
            category="Tables",
            labels={"table": "One law over both stages"},
        ),
    log:
        f"{LOGS}/fit_unified_law.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        delta=study.laws.huber_delta,
    message:
        "fit one law over both stages (appendix D.3)"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --cells {input.cells} "
        "--base-cells {input.base_cells} --delta {params.delta} --out {output} > {log} 2>&1"


rule measure_crossover:
    input:
        cells=CELLS,
        script=f"{SCRIPTS}/measure_crossover.py",
        code=library_code(
            "analysis/crossover_fits.py",
            "analysis/measured_crossover.py",
            "analysis/cells.py",
            "exhibits/controls.py",
            "tables/crossover.py",
            "tables/table.py",
            *LAWS_CODE,
        ),
    output:
        csv=f"{RESULTS}/tables/crossover.csv",
        html=report(
            f"{RESULTS}/tables/crossover.html",
            caption="../report/crossover-table.rst",
            category="Tables",
            labels={"table": "Crossover"},
        ),
    log:
        f"{LOGS}/measure_crossover.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        delta=study.laws.huber_delta,
        shown=[entry.model_dump() for entry in study.excluded_cells],
    message:
        "compare reuse with models trained from scratch"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --cells {input.cells} --study {params.study} "
        "--csv {output.csv} --html {output.html} > {log} 2>&1"
