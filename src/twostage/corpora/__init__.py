"""From raw text to samples.

`corpus` prepares the documents of one corpus: from `readers` (files), `hub` (streamed) or `embedded`; `digests` and `neardup`
drop duplicates, `pinning` finds revisions. `tokenizer` trains or converts (`sentencepiece_bpe`) the vocabulary, `tokens`
writes token files, `samples` chooses the tokens of a step, `dataspecs` is the identity of it all. Imports `study`, `common`.
"""
