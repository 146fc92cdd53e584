# Training: trunk segments and decay branches, in both stages alike. Only where a run starts differs
# (segment_parent in common.smk): drawn weights, the decayed base checkpoint, or its grown version.


rule train_trunk_segment:
    input:
        data=training_data,
        parent=segment_parent,
    output:
        manifest=f"{RESULTS}/{{run}}/trunk/{{tokens}}/checkpoint/manifest.json",
        metrics=f"{RESULTS}/{{run}}/trunk/{{tokens}}/metrics.json",
    log:
        f"{LOGS}/{{run}}/trunk-{{tokens}}.log",
    threads: 1
    resources:
        **training_resources(segment_of, f"{LOGS}/{{run}}/trunk-{{tokens}}.log"),
        payload=segment_payload,
    params:
        spec=segment_spec,
        rolling=f"{ROLLING}/{{run}}/trunk-{{tokens}}",
    message:
        "train trunk {wildcards.run} to {wildcards.tokens} tokens"
    shell:
        "OMP_NUM_THREADS={threads} exec python $SCRIPTS/supervise.py --log {log} -- "
        "{resources.launcher} python $SCRIPTS/train.py --spec {params.spec:q} "
        "--parent {input.parent} --data {input.data} "
        "--out {output.manifest} --rolling {params.rolling} "
        "--device {resources.device} --threads {threads} "
        "--save-every-s {resources.save_every_s} --payload {resources.payload} "
        "{resources.train_flags}"


rule train_decay_branch:
    input:
        data=training_data,
        parent=branch_parent,
    output:
        manifest=f"{RESULTS}/{{run}}/decay/{{branch}}/checkpoint/manifest.json",
        metrics=f"{RESULTS}/{{run}}/decay/{{branch}}/metrics.json",
    log:
        f"{LOGS}/{{run}}/decay-{{branch}}.log",
    threads: 1
    resources:
        **training_resources(branch_of, f"{LOGS}/{{run}}/decay-{{branch}}.log"),
        payload=branch_payload,
    params:
        spec=branch_spec,
        rolling=f"{ROLLING}/{{run}}/decay-{{branch}}",
    message:
        "train decay {wildcards.run} to {wildcards.branch}"
    shell:
        "OMP_NUM_THREADS={threads} exec python $SCRIPTS/supervise.py --log {log} -- "
        "{resources.launcher} python $SCRIPTS/train.py --spec {params.spec:q} "
        "--parent {input.parent} --data {input.data} "
        "--out {output.manifest} --rolling {params.rolling} "
        "--device {resources.device} --threads {threads} "
        "--save-every-s {resources.save_every_s} --payload {resources.payload} "
        "{resources.train_flags}"
