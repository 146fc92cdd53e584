# Replaces cells.smk for a study with `cells_table`: the tables are checked and written as CSV, and nothing is trained. There is one
# rule for each table that the study names.

TABLES_FROM = imported_tables.table_paths(study)


rule import_cells:
    input:
        **program("aggregate_cells.py"),
        table=TABLES_FROM["cells"],
    output:
        report(
            CELLS,
            caption="../report/cells.rst",
            category="Tables",
            labels={"table": "Cells"},
        ),
    log:
        f"{ANALYSIS_LOGS}/import_cells.log",
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        kind="cells",
        declared=[list(pair) for pair in shown_methods.all_pairs(study)],
        where=list(study.cells_table.where),
    message:
        "import {params.kind} from {input.table}"
    shell:
        "python {input.script} --study {params.study:q} given --kind {params.kind} "
        "--from {input.table:q} --out {output} > {log} 2>&1"


if "base_cells" in TABLES_FROM:

    use rule import_cells as import_base_cells with:
        input:
            **program("aggregate_cells.py"),
            table=TABLES_FROM["base_cells"],
        output:
            report(
                BASE_CELLS,
                caption="../report/base-cells.rst",
                category="Tables",
                labels={"table": "Base checkpoints at D2 = 0"},
            ),
        log:
            f"{ANALYSIS_LOGS}/import_base_cells.log",
        params:
            kind="base_cells",


if "curves" in TABLES_FROM:

    use rule import_cells as import_curves with:
        input:
            **program("aggregate_cells.py"),
            table=TABLES_FROM["curves"],
        output:
            report(
                CURVES,
                caption="../report/curves.rst",
                category="Tables",
                labels={"table": "Loss curves"},
            ),
        log:
            f"{ANALYSIS_LOGS}/import_curves.log",
        params:
            kind="curves",
