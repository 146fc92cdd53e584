"""From raw text to samples: what the main path's `corpus`, `tokens` and `train` need of the data.

Documents come from `readers` (files), `hub` (streamed) or `embedded`; `digests` and `neardup` drop duplicates, `pinning`
finds revisions. `tokenizer` trains or converts (`sentencepiece_bpe`) the vocabulary, `samples` says which tokens a step
sees, and `dataspecs` is the identity of it all.
"""
