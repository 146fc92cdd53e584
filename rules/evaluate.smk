# Validation losses: one job per checkpoint and held-out corpus.


rule evaluate_checkpoint:
    input:
        checkpoint=evaluated_checkpoint,
        data=evaluated_tokens,
    output:
        f"{RESULTS}/{{run}}/decay/{{branch}}/eval-{{corpus}}.json",
    log:
        f"{LOGS}/{{run}}/eval-{{branch}}-{{corpus}}.log",
    resources:
        **gpu_resources(f"{LOGS}/{{run}}/eval-{{branch}}-{{corpus}}.log", runtime=60),
    params:
        spec=evaluation_spec,
    message:
        "evaluate {wildcards.run} {wildcards.branch} on {wildcards.corpus}"
    shell:
        "OMP_NUM_THREADS={threads} exec python $SCRIPTS/supervise.py --log {log} -- "
        "{resources.launcher} python $SCRIPTS/evaluate_checkpoint.py "
        "--spec {params.spec:q} --checkpoint {input.checkpoint} --data {input.data} "
        "--out {output} --device {resources.device} --threads {threads}"
