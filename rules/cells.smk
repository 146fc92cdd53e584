# From evaluations to tables: all cells of the study, the cells of one method at one size, and loss curves.


rule aggregate_cells:
    input:
        **program("aggregate_cells.py"),
        evaluations=all_evaluations,
        metrics=all_metrics,
    output:
        cells=report(
            CELLS,
            caption="../report/cells.rst",
            category="Tables",
            labels={"table": "Cells"},
        ),
        base_cells=report(
            BASE_CELLS,
            caption="../report/base-cells.rst",
            category="Tables",
            labels={"table": "Base checkpoints at D2 = 0"},
        ),
    log:
        f"{ANALYSIS_LOGS}/aggregate_cells.log",
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        results=study_folder,
        excluded=[entry.model_dump() for entry in study.excluded_cells],
    message:
        "gather the cells of study {study.name}"
    shell:
        "python {input.script} --study {params.study:q} cells --results {params.results} "
        "--cells {output.cells} --base-cells {output.base_cells} > {log} 2>&1"


# Request this file to train and measure one method at one size only, e.g. results/<study>/cells/stack/0.1B.csv. The method
# `scratch` means base models and models from scratch.
rule aggregate_method_cells:
    input:
        **program("aggregate_cells.py"),
        evaluations=method_evaluations,
        metrics=method_branches,
    output:
        f"{ANALYSIS}/cells/{{method}}/{{model}}.csv",
    log:
        f"{ANALYSIS_LOGS}/aggregate_method_cells/{{method}}/{{model}}.log",
    wildcard_constraints:
        method=r"[^/]+",
        model=r"[^/]+",
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        results=study_folder,
    message:
        "gather the cells of {wildcards.method} on {wildcards.model}"
    shell:
        "python {input.script} --study {params.study:q} cells --results {params.results} "
        "--only {wildcards.method} {wildcards.model} --cells {output} > {log} 2>&1"


rule gather_curves:
    input:
        **program("aggregate_cells.py"),
        metrics=curve_metrics,
    output:
        report(
            CURVES,
            caption="../report/curves.rst",
            category="Tables",
            labels={"table": "Loss curves"},
        ),
    log:
        f"{ANALYSIS_LOGS}/gather_curves.log",
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        results=study_folder,
        wanted=[branch.folder for branch in lookup.wanted_branches(design)],
    message:
        "gather the loss curves of study {study.name}"
    shell:
        "python {input.script} --study {params.study:q} curves --results {params.results} "
        "--wanted {params.wanted} --out {output} > {log} 2>&1"
