# Data: documents of each corpus (cleaned and split), one tokenizer for all corpora, token files. Outputs are the manifests
# and the tokenizer. The job that reads documents or tokens checks them against the manifest.


rule prepare_corpus:
    output:
        f"{RESULTS}/corpora/{{corpus}}/manifest.json",
    log:
        f"{LOGS}/corpora/{{corpus}}.log",
    resources:
        **cpu_resources(
            f"{LOGS}/corpora/{{corpus}}.log", mem_mb=prepare_mb, runtime=prepare_min
        ),
    params:
        spec=corpus_spec,
    message:
        "prepare corpus {wildcards.corpus}"
    shell:
        "exec python $SCRIPTS/supervise.py --log {log} -- "
        "python $SCRIPTS/prepare_corpus.py --spec {params.spec:q} --out {output}"


rule train_tokenizer:
    input:
        # A frozen tokenizer is kept when the text that it was trained on changes.
        corpora=(
            ancient(tokenizer_corpora) if study.tokenizer.frozen else tokenizer_corpora
        ),
        file=ancient(tokenizer_file) if study.tokenizer.frozen else tokenizer_file,
    output:
        f"{RESULTS}/tokens/tokenizer.json",
    log:
        f"{LOGS}/tokens/tokenizer.log",
    resources:
        **cpu_resources(f"{LOGS}/tokens/tokenizer.log", mem_mb=2000, runtime=240),
    params:
        spec=tokenizer_spec,
    message:
        "make the tokenizer"
    shell:
        "RAYON_NUM_THREADS={threads} exec python $SCRIPTS/supervise.py --log {log} -- "
        "python $SCRIPTS/train_tokenizer.py --spec {params.spec:q} "
        "--corpora {input.corpora} --out {output}"


rule tokenize_corpus:
    input:
        documents=f"{RESULTS}/corpora/{{corpus}}/manifest.json",
        tokenizer=f"{RESULTS}/tokens/tokenizer.json",
    output:
        f"{RESULTS}/tokens/{{corpus}}/manifest.json",
    log:
        f"{LOGS}/tokens/{{corpus}}.log",
    threads: TOKENIZE_WORKERS
    resources:
        **cpu_resources(
            f"{LOGS}/tokens/{{corpus}}.log", mem_mb=6000, runtime=tokenize_min
        ),
        # Not in `params`: that would tokenise the corpora of finished studies again.
        least_train_tokens=least_train_tokens,
        least_valid_tokens=least_valid_tokens,
    params:
        spec=tokenize_spec,
    message:
        "tokenise {wildcards.corpus}"
    shell:
        "OMP_NUM_THREADS=1 exec python $SCRIPTS/supervise.py --log {log} -- "
        "python $SCRIPTS/tokenize_corpus.py --spec {params.spec:q} "
        "--documents {input.documents} --tokenizer {input.tokenizer} --out {output} "
        "--least-train-tokens {resources.least_train_tokens} "
        "--least-valid-tokens {resources.least_valid_tokens} --workers {threads}"
