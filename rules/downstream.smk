# Benchmarks (Table 6): exports base checkpoints to Hugging Face folders, runs the lm-eval harness on them, and makes the
# table. Any decay branch can be requested by its path; the table has those of the study's section `downstream`.


rule export_checkpoint:
    input:
        checkpoint=evaluated_checkpoint,
        tokenizer=f"{RESULTS}/tokens/tokenizer.json",
    output:
        f"{RESULTS}/{{run}}/decay/{{branch}}/hf/manifest.json",
    log:
        f"{LOGS}/{{run}}/export-{{branch}}.log",
    threads: 1
    resources:
        **cpu_resources(
            f"{LOGS}/{{run}}/export-{{branch}}.log", mem_mb=export_mb, runtime=60
        ),
    params:
        spec=export_spec,
    message:
        "export {wildcards.run} {wildcards.branch}"
    shell:
        "OMP_NUM_THREADS={threads} exec python $SCRIPTS/supervise.py --log {log} -- "
        "python $SCRIPTS/export_checkpoint.py "
        "--spec {params.spec:q} --checkpoint {input.checkpoint} "
        "--tokenizer {input.tokenizer} --out {output}"


rule evaluate_downstream:
    input:
        export=rules.export_checkpoint.output,
        tasks=own_tasks,
    output:
        f"{RESULTS}/{{run}}/decay/{{branch}}/downstream.json",
    log:
        f"{LOGS}/{{run}}/downstream-{{branch}}.log",
    threads: 1
    resources:
        **gpu_resources(f"{LOGS}/{{run}}/downstream-{{branch}}.log", runtime=240),
    params:
        spec=downstream_spec,
        task_folder=task_folder_option,
    message:
        "run the lm-eval harness on {wildcards.run} {wildcards.branch}"
    shell:
        "OMP_NUM_THREADS={threads} exec python $SCRIPTS/supervise.py --log {log} -- "
        "python $SCRIPTS/evaluate_downstream.py "
        "--spec {params.spec:q} --export {input.export} {params.task_folder} "
        "--out {output} --device {resources.device} --threads {threads}"


rule make_table_6:
    input:
        scores=downstream_scores,
        published=f"{PUBLISHED}/table_6.csv",
        script=f"{SCRIPTS}/make_table_6.py",
        code=library_code(
            "evaluation/downstream_spec.py", "tables/downstream.py", "tables/table.py"
        ),
    output:
        csv=f"{RESULTS}/tables/table-6.csv",
        html=report(
            f"{RESULTS}/tables/table-6.html",
            caption="../report/table-6.rst",
            category="Tables",
            labels={"table": "Table 6"},
        ),
    log:
        f"{LOGS}/make_table_6.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        study=STUDY_FILE,
        results=subpath(output.csv, ancestor=2),
    message:
        "make Table 6: benchmarks"
    shell:
        "python {input.script} --study {params.study} --results {params.results} "
        "--csv {output.csv} --html {output.html} > {log} 2>&1"
