# Benchmarks: exports base checkpoints to Hugging Face folders and runs the lm-eval harness on them. Any decay branch can be
# requested by its path; Table 6 has those of the study's section `downstream`.


rule export_checkpoint:
    input:
        checkpoint=evaluated_checkpoint,
        tokenizer=f"{RESULTS}/tokens/tokenizer.json",
    output:
        f"{RESULTS}/{{run}}/decay/{{branch}}/hf/manifest.json",
    log:
        f"{LOGS}/{{run}}/export-{{branch}}.log",
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
