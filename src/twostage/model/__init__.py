"""All that knows Megatron-core: building models, their checkpoints, import and export.

`build` makes a Megatron model (`megatron_cpu`: what Megatron needs to run on a CPU; `ranks`: several processes). `checkpoint`
reads and writes weights under canonical names (`transformer_engine_names`: TE's names), `optimizer_state` and
`master_weights` hold what an optimizer adds. `export` and `hf_config` are Hugging Face folders. Imports `design`, `study` and
`common`.
"""
