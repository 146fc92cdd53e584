# Tables of the paper for the study, beside the paper's numbers: as numbers, and as a page of the report. All rules are
# the first with other inputs. One table: snakemake results/<study>/tables/table-1.csv.


rule make_table_1:
    input:
        **table_input(
            "table-1",
            "tables/laws.py",
            fits=presentation.table_fits(study, "table-1"),
            published=[1, 2],
        ),
    output:
        **table_output("table-1"),
    log:
        f"{LOGS}/make_table_1.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        table="table-1",
        shown=[entry.model_dump() for entry in study.excluded_cells],
    message:
        "make Table 1: leave-one-out errors"
    shell:
        "python {input.script} --table {params.table} --study {params.study} "
        "--fits {input.fits} --csv {output.csv} --html {output.html} > {log} 2>&1"


use rule make_table_1 as make_table_2 with:
    input:
        **table_input(
            "table-2",
            "tables/laws.py",
            fits=presentation.table_fits(study, "table-2"),
            published=[1, 2],
        ),
    output:
        **table_output("table-2"),
    log:
        f"{LOGS}/make_table_2.log",
    params:
        table="table-2",
    message:
        "make Table 2: leave-one-out errors of variants"


use rule make_table_1 as make_table_3 with:
    input:
        **table_input(
            "table-3", "common/architecture.py", "tables/setup.py", published=[3]
        ),
    output:
        **table_output("table-3"),
    log:
        f"{LOGS}/make_table_3.log",
    params:
        table="table-3",
        shown=table_settings("table-3"),
    message:
        "make Table 3: models"


use rule make_table_1 as make_table_4 with:
    input:
        **table_input(
            "table-4", "common/architecture.py", "tables/setup.py", published=[4]
        ),
    output:
        **table_output("table-4"),
    log:
        f"{LOGS}/make_table_4.log",
    params:
        table="table-4",
        shown=table_settings("table-4"),
    message:
        "make Table 4: recipe"


use rule make_table_1 as make_table_5 with:
    input:
        **table_input(
            "table-5", "design/trunk_points.py", "tables/setup.py", published=[5]
        ),
    output:
        **table_output("table-5"),
    log:
        f"{LOGS}/make_table_5.log",
    params:
        table="table-5",
        shown=table_settings("table-5"),
    message:
        "make Table 5: recipe of each model"


use rule make_table_1 as make_table_7 with:
    input:
        **table_input(
            "table-7",
            "tables/laws.py",
            fits=presentation.table_fits(study, "table-7"),
            published=[7],
        ),
    output:
        **table_output("table-7"),
    log:
        f"{LOGS}/make_table_7.log",
    params:
        table="table-7",
    message:
        "make Table 7: exponents of the multiplicative law"


use rule make_table_1 as make_table_8 with:
    input:
        **table_input(
            "table-8",
            "analysis/joint_fit.py",
            "tables/sizes.py",
            fits=joint_design.sizes_fits(study),
            published=[8],
        ),
    output:
        **table_output("table-8"),
    log:
        f"{LOGS}/make_table_8.log",
    params:
        table="table-8",
    message:
        "make Table 8: coefficients of the laws over model sizes"


# Not one of the paper's tables: how certain its finding is.
rule estimate_alpha3:
    input:
        cells=CELLS,
        fits=[
            in_results(presentation.fit_path(*pair))
            for pair in presentation.fitted_pairs(study)
        ],
        script=f"{SCRIPTS}/estimate_alpha3.py",
        code=library_code(
            "analysis/alpha3.py",
            "analysis/method_fit.py",
            "analysis/cells.py",
            "tables/alpha3.py",
            "tables/table.py",
            *LAWS_CODE,
        ),
    output:
        csv=f"{RESULTS}/tables/alpha3.csv",
        html=report(
            f"{RESULTS}/tables/alpha3.html",
            caption="../report/alpha3.rst",
            category="Tables",
            labels={"table": "How certain alpha3 is"},
        ),
    log:
        f"{LOGS}/estimate_alpha3.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        shown=[entry.model_dump() for entry in study.excluded_cells],
    message:
        "estimate how certain alpha3 is"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --study {params.study} --cells {input.cells} "
        "--fits {input.fits} --csv {output.csv} --html {output.html} > {log} 2>&1"


rule list_not_drawn:
    input:
        script=f"{SCRIPTS}/list_not_drawn.py",
        code=library_code(
            "exhibits/catalogue.py",
            "exhibits/comparisons.py",
            "exhibits/controls.py",
            "exhibits/joint_design.py",
            "exhibits/presentation.py",
            "tables/not_drawn.py",
            "tables/table.py",
        ),
    output:
        csv=f"{RESULTS}/tables/not-drawn.csv",
        html=report(
            f"{RESULTS}/tables/not-drawn.html",
            caption="../report/not-drawn.rst",
            category="Tables",
            labels={"table": "Not drawn"},
        ),
    log:
        f"{LOGS}/list_not_drawn.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        rows=[list(row) for row in catalogue.not_drawn(study)],
    message:
        "list the figures and tables that study {study.name} lacks the cells for"
    shell:
        "python {input.script} --study {params.study} --csv {output.csv} --html {output.html} > {log} 2>&1"


rule write_summary:
    input:
        cells=CELLS,
        tables=summarised_tables,
        script=f"{SCRIPTS}/write_summary.py",
        code=library_code(
            "analysis/claims.py",
            "analysis/norm_slope.py",
            "exhibits/catalogue.py",
            "common/markdown.py",
            "tables/summary.py",
            "tables/table.py",
        ),
    output:
        page=f"{RESULTS}/summary.md",
        csv=f"{RESULTS}/tables/claims.csv",
        html=report(
            f"{RESULTS}/tables/claims.html",
            caption="../report/claims.rst",
            category="Tables",
            labels={"table": "What the paper says"},
        ),
    log:
        f"{LOGS}/write_summary.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        figures=catalogue.drawable_figures(study),
        shown=[entry.model_dump() for entry in study.excluded_cells],
    message:
        "say what study {study.name} found, beside what the paper says"
    shell:
        "python {input.script} --study {params.study} --cells {input.cells} --tables {input.tables} "
        "--page {output.page} --csv {output.csv} --html {output.html} > {log} 2>&1"


rule all_tables:
    input:
        rules.write_summary.output,
        all_released,
        CELLS,
        [BASE_CELLS, rules.fit_unified_law.output]
        if imported.unified_law_wanted(study)
        else [],
        [] if controls.control_obstacle(study) else rules.measure_crossover.output,
        CURVES if imported.curves_wanted(study) else [],
        expand(
            f"{RESULTS}/tables/{{table}}.{{kind}}",
            table=catalogue.drawable_tables(study),
            kind=["csv", "html"],
        ),
        rules.estimate_alpha3.output if presentation.fitted_pairs(study) else [],
        rules.list_not_drawn.output,
