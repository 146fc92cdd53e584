# Deletes the files of checkpoints that no planned job will read again (`release` in the study's section `checkpoints`).
# Manifests stay; released.json is written next to them.


rule release_trunk:
    input:
        manifest=f"{RESULTS}/{{run}}/trunk/{{tokens}}/checkpoint/manifest.json",
        consumers=consumers_of_trunk,
    output:
        f"{RESULTS}/{{run}}/trunk/{{tokens}}/checkpoint/released.json",
    log:
        f"{LOGS}/{{run}}/release-trunk-{{tokens}}.log",
    wildcard_constraints:
        run=paths.STAGE2_RUN_PATTERN,
    resources:
        mem_mb=1000,
    message:
        "release trunk {wildcards.run} at {wildcards.tokens} tokens"
    shell:
        "python $SCRIPTS/release_checkpoint.py --manifest {input.manifest} "
        "--consumers {input.consumers} > {log} 2>&1"


rule release_grown:
    input:
        manifest=f"{RESULTS}/{{run}}/init/checkpoint/manifest.json",
        consumers=consumers_of_grown,
    output:
        f"{RESULTS}/{{run}}/init/checkpoint/released.json",
    log:
        f"{LOGS}/{{run}}/release-init.log",
    wildcard_constraints:
        run=paths.STAGE2_RUN_PATTERN,
    resources:
        mem_mb=1000,
    message:
        "release grown {wildcards.run}"
    shell:
        "python $SCRIPTS/release_checkpoint.py --manifest {input.manifest} "
        "--consumers {input.consumers} > {log} 2>&1"
