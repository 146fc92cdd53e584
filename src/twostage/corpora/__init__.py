"""From raw text to samples.

`corpus` prepares the documents of one corpus, read by `readers` (local files), `hub` (Hugging Face) or `embedded` (installed
packages), and `splits` divides them. `files` lists local files, `packed` decompresses them, `records` reads their records,
`fingerprint` tells whether they changed.
`digests` and `neardup` find duplicates, `pinning` looks up revisions. `tokenizer` trains a tokenizer or converts one
(`sentencepiece_bpe`), `tokens` writes token files, `samples` selects the tokens of a training step. `dataspecs` has the specs
of these jobs. Imports `design`, `study` and `common`.
"""
