"""What leaves a study and what comes back: archives, Hugging Face folders, benchmark scores.

`archive` keeps what was measured; `export` writes and reads checkpoints as `transformers` knows them (`hf_config`: their
shape); `downstream_spec` says which of them answer benchmarks, `downstream` runs these.
"""
