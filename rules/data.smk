# Text to tokens: documents of each corpus, one tokenizer for the study, Megatron's .bin/.idx.


rule prepare_corpus:
    message:
        "prepare corpus {wildcards.corpus}"
    output:
        f"{RESULTS}/corpora/{{corpus}}/manifest.json",
    log:
        f"{LOGS}/corpora/{{corpus}}.log",
    params:
        spec=corpus_spec,
    threads: 1
    resources:
        mem_mb=2000,
    shell:
        "python {SCRIPTS}/prepare_corpus.py --name {wildcards.corpus} "
        "--spec {params.spec:q} --out {output} > {log} 2>&1"


rule train_tokenizer:
    message:
        "make the tokenizer"
    input:
        [f"{RESULTS}/corpora/{corpus}/manifest.json" for corpus in study.corpora],
    output:
        f"{RESULTS}/tokens/tokenizer.json",
    log:
        f"{LOGS}/tokenizer.log",
    params:
        spec=specs.tokenizer_spec(study).canonical(),
    threads: 1
    resources:
        mem_mb=4000,
    shell:
        "python {SCRIPTS}/train_tokenizer.py --spec {params.spec:q} "
        "--corpora {input} --out {output} > {log} 2>&1"


rule tokenize_corpus:
    message:
        "tokenize {wildcards.corpus}"
    input:
        corpus=f"{RESULTS}/corpora/{{corpus}}/manifest.json",
        tokenizer=rules.train_tokenizer.output,
    output:
        f"{RESULTS}/tokens/{{corpus}}/manifest.json",
    log:
        f"{LOGS}/tokens/{{corpus}}.log",
    threads: 1
    resources:
        mem_mb=2000,
    shell:
        "python {SCRIPTS}/tokenize_corpus.py --corpus {input.corpus} "
        "--tokenizer {input.tokenizer} --out {output} --workers {threads} > {log} 2>&1"
