"""Models on Megatron-core: construction, checkpoints, growth of weights, import and export.

`build` makes a Megatron model (`megatron_cpu`: changes to run Megatron on a CPU; `ranks`: several processes). `canonical` defines
the names of weights, those of Hugging Face's LLaMA (`transformer_engine_names`: names of transformer-engine). `checkpoint` reads
and writes checkpoints; `optimizer_state` and `master_weights` handle the optimizer's state. `growth` has the growth operators;
`export` and `hf_config` read and write Hugging Face folders. Imports `corpora`, `design`, `study` and `common`.
"""
