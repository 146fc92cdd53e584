# Training: trunk segments and decay branches, in both stages alike. Only where a run starts differs
# (segment_parent in common.smk): drawn weights, the decayed base checkpoint, or its grown version.


rule train_trunk_segment:
    message:
        "train trunk {wildcards.run} to {wildcards.tokens} tokens"
    input:
        data=training_data,
        parent=segment_parent,
    output:
        manifest=f"{RESULTS}/{{run}}/trunk/{{tokens}}/checkpoint/manifest.json",
        metrics=f"{RESULTS}/{{run}}/trunk/{{tokens}}/metrics.json",
    log:
        f"{LOGS}/{{run}}/trunk-{{tokens}}.log",
    params:
        spec=segment_spec,
    threads: 1
    resources:
        device="cpu",
        save_every_s=600,
        mem_mb=2000,
    shell:
        "OMP_NUM_THREADS={threads} python {SCRIPTS}/train.py --spec {params.spec:q} "
        "--parent {input.parent} --data {input.data} "
        "--out {RESULTS}/{wildcards.run}/trunk/{wildcards.tokens} "
        "--rolling {ROLLING}/{wildcards.run}/trunk-{wildcards.tokens} "
        "--device {resources.device} --threads {threads} "
        "--save-every-s {resources.save_every_s} > {log} 2>&1"


rule train_decay_branch:
    message:
        "train decay {wildcards.run} to {wildcards.branch}"
    input:
        data=training_data,
        parent=branch_parent,
    output:
        manifest=f"{RESULTS}/{{run}}/decay/{{branch}}/checkpoint/manifest.json",
        metrics=f"{RESULTS}/{{run}}/decay/{{branch}}/metrics.json",
    log:
        f"{LOGS}/{{run}}/decay-{{branch}}.log",
    params:
        spec=branch_spec,
    threads: 1
    resources:
        device="cpu",
        save_every_s=600,
        mem_mb=2000,
    shell:
        "OMP_NUM_THREADS={threads} python {SCRIPTS}/train.py --spec {params.spec:q} "
        "--parent {input.parent} --data {input.data} "
        "--out {RESULTS}/{wildcards.run}/decay/{wildcards.branch} "
        "--rolling {ROLLING}/{wildcards.run}/decay-{wildcards.branch} "
        "--device {resources.device} --threads {threads} "
        "--save-every-s {resources.save_every_s} > {log} 2>&1"
