# Training: trunk segments and decay branches of both stages. Runs differ only in their start (segment_parent in
# common/inputs.smk): random weights, a base checkpoint, or a grown one.


rule train_trunk_segment:
    input:
        data=training_data,
        parent=segment_parent,
    output:
        manifest=f"{RESULTS}/{{run}}/trunk/{{tokens}}/checkpoint/manifest.json",
        metrics=f"{RESULTS}/{{run}}/trunk/{{tokens}}/metrics.json",
    log:
        f"{LOGS}/{{run}}/trunk-{{tokens}}.log",
    resources:
        **training_resources(segment_of, f"{LOGS}/{{run}}/trunk-{{tokens}}.log"),
        checkpoint_files=segment_checkpoint_files,
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
        "--save-every-s {resources.save_every_s} "
        "--checkpoint-files {resources.checkpoint_files} {resources.train_flags}"


# A decay branch differs in what it starts from and in its name.
use rule train_trunk_segment as train_decay_branch with:
    input:
        data=training_data,
        parent=branch_parent,
    output:
        manifest=f"{RESULTS}/{{run}}/decay/{{branch}}/checkpoint/manifest.json",
        metrics=f"{RESULTS}/{{run}}/decay/{{branch}}/metrics.json",
    log:
        f"{LOGS}/{{run}}/decay-{{branch}}.log",
    resources:
        **training_resources(branch_of, f"{LOGS}/{{run}}/decay-{{branch}}.log"),
        checkpoint_files=branch_checkpoint_files,
    params:
        spec=branch_spec,
        rolling=f"{ROLLING}/{{run}}/decay-{{branch}}",
    message:
        "train decay {wildcards.run} to {wildcards.branch}"
