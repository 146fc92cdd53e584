# From losses to laws: cells.csv, a fit file for each method and base model, Tables 1 and 7. All take seconds, so they
# list their code as inputs and are run again when it changes.


rule aggregate_cells:
    input:
        evaluations=all_evaluations,
        metrics=all_metrics,
        script=f"{SCRIPTS}/aggregate_cells.py",
        code=library_code("cells.py"),
    output:
        cells=report(
            f"{RESULTS}/tables/cells.csv",
            caption="../report/cells.rst",
            category="Tables",
            labels={"table": "Cells"},
        ),
        base_cells=report(
            f"{RESULTS}/tables/base-cells.csv",
            caption="../report/base-cells.rst",
            category="Tables",
            labels={"table": "Base checkpoints at D2 = 0"},
        ),
    log:
        f"{LOGS}/aggregate_cells.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        results=subpath(output.cells, ancestor=2),
        excluded=[entry.model_dump() for entry in study.excluded_cells],
    message:
        "gather the cells of study {study.name}"
    shell:
        "python {input.script} --study {params.study} --results {params.results} "
        "--cells {output.cells} --base-cells {output.base_cells} > {log} 2>&1"


rule fit_law:
    input:
        cells=rules.aggregate_cells.output.cells,
        script=f"{SCRIPTS}/fit_law.py",
        code=library_code(
            "cells.py",
            "method_fit.py",
            "curves.py",
            "power_law.py",
            *(
                f"laws/{path.name}"
                for path in sorted(Path(LIBRARY, "laws").glob("*.py"))
            ),
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


rule make_table_1:
    input:
        fits=[in_results(path) for path in presentation.all_fits(study)],
        published=expand(f"{PUBLISHED}/table_{{number}}.csv", number=[1, 2]),
        script=f"{SCRIPTS}/make_table.py",
        code=library_code("tables.py", "presentation.py"),
    output:
        csv=f"{RESULTS}/tables/table-1.csv",
        html=report(
            f"{RESULTS}/tables/table-1.html",
            caption="../report/table-1.rst",
            category="Tables",
            labels={"table": "Table 1"},
        ),
    log:
        f"{LOGS}/make_table_1.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        excluded=[entry.model_dump() for entry in study.excluded_cells],
    message:
        "make Table 1: leave-one-out errors"
    shell:
        "python {input.script} --table table-1 --study {params.study} "
        "--fits {input.fits} --csv {output.csv} --html {output.html} > {log} 2>&1"


rule make_table_7:
    input:
        fits=[in_results(path) for path in presentation.all_fits(study)],
        published=f"{PUBLISHED}/table_7.csv",
        script=f"{SCRIPTS}/make_table.py",
        code=library_code("tables.py", "presentation.py"),
    output:
        csv=f"{RESULTS}/tables/table-7.csv",
        html=report(
            f"{RESULTS}/tables/table-7.html",
            caption="../report/table-7.rst",
            category="Tables",
            labels={"table": "Table 7"},
        ),
    log:
        f"{LOGS}/make_table_7.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        excluded=[entry.model_dump() for entry in study.excluded_cells],
    message:
        "make Table 7: exponents of the multiplicative law"
    shell:
        "python {input.script} --table table-7 --study {params.study} "
        "--fits {input.fits} --csv {output.csv} --html {output.html} > {log} 2>&1"


rule fit_unified_law:
    input:
        cells=rules.aggregate_cells.output.cells,
        base_cells=rules.aggregate_cells.output.base_cells,
        script=f"{SCRIPTS}/fit_unified_law.py",
        code=library_code(
            "cells.py",
            "unified_fit.py",
            *(
                f"laws/{path.name}"
                for path in sorted(Path(LIBRARY, "laws").glob("*.py"))
            ),
        ),
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


rule all_tables:
    input:
        all_released,
        rules.fit_unified_law.output,
        rules.aggregate_cells.output,
        rules.make_table_1.output,
        rules.make_table_7.output,
