# Model growth: makes the initial checkpoint of stage 2 from a base checkpoint: weights from a decay branch, or a training
# state from a trunk (start: trunk). Continual pretraining needs no such job; it starts from the base checkpoint.


rule grow_checkpoint:
    input:
        growth_base,
    output:
        f"{RESULTS}/{{run}}/init/checkpoint/manifest.json",
    log:
        f"{LOGS}/{{run}}/grow.log",
    wildcard_constraints:
        run=paths.STAGE2_RUN_PATTERN,
    resources:
        **cpu_resources(f"{LOGS}/{{run}}/grow.log", mem_mb=growth_mb, runtime=60),
    params:
        spec=growth_spec,
    message:
        "grow {wildcards.run}"
    shell:
        "OMP_NUM_THREADS={threads} exec python $SCRIPTS/supervise.py --log {log} -- "
        "python $SCRIPTS/grow_checkpoint.py "
        "--spec {params.spec:q} --base {input} --out {output}"
