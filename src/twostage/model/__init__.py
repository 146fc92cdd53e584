"""Models on Megatron-core: construction, checkpoints, import and export.

`build` makes a Megatron model (`megatron_cpu`: changes to run Megatron on a CPU; `ranks`: several processes). `checkpoint` reads
and writes checkpoints under canonical names (`transformer_engine_names`: names of transformer-engine); `optimizer_state` and
`master_weights` handle the optimizer's state. `export` and `hf_config` read and write Hugging Face folders. Imports `corpora`,
`design`, `study` and `common`.
"""
