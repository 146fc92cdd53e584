"""All that knows Megatron-core: building models, their checkpoints, growth of weights, import and export.

`build` makes a Megatron model (`megatron_cpu`: what Megatron needs to run on a CPU; `ranks`: several processes). `canonical`
names weights as Hugging Face LLaMA does (`transformer_engine_names`: TE's names), `checkpoint` reads and writes them,
`optimizer_state` and `master_weights` hold what an optimizer adds. `growth` is the operators; `export` and `hf_config` are
Hugging Face folders. Imports `design`, `study` and `common`.
"""
