"""Hugging Face folders: logits equal to Megatron's, bit-exact round trips, and errors that name key and file."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from drawn_weights import random_state, token_ids
from safetensors.torch import load_file, save_file
from tiny_training import TINY
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoTokenizer

from twostage.cli import main
from twostage.common.architecture import Architecture
from twostage.common.canonical import check_state
from twostage.common.errors import UserError
from twostage.common.storage import read_manifest, verify_payload
from twostage.methods.expand import expanded_architecture
from twostage.methods.expand_weights import expand_width
from twostage.methods.stack import stack_depth, stacked_architecture
from twostage.model.build import build_model, start_process_group
from twostage.model.checkpoint import load_into, load_weights, save_weights
from twostage.model.export import export_checkpoint, import_hf, read_hf
from twostage.model.hf_config import from_hf_config, layout, to_hf_config

# Heads that do not divide the width, another epsilon and another rotary base: each changes the function.
WIDE = expanded_architecture(TINY, d_model=44, n_head=3, d_mlp=92)
OTHER = TINY.with_shape(norm_eps=3e-4, rope_base=500_000, context=24)


def state_of(kind):
    """Weights for which gains and epsilon matter: base, stacked or expanded by the real operators."""
    base = random_state(TINY, dtype=torch.float32)
    if kind == "base":
        return base, TINY
    if kind == "other":
        return random_state(OTHER, dtype=torch.float32), OTHER
    if kind == "stacked":
        return stack_depth(base, 2), stacked_architecture(TINY, 2)
    return expand_width(base, TINY, WIDE, seed=1), WIDE


KINDS = ("base", "other", "stacked", "expanded")


@pytest.fixture(scope="module")
def tokenizer(corpus_folder):
    return corpus_folder.parent / "tokenizer.json"


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tokenizer):
    """kind -> (checkpoint manifest, exported folder)."""
    root = tmp_path_factory.mktemp("exported")
    folders = {}
    for kind in KINDS:
        state, architecture = state_of(kind)
        save_weights(root / kind / "checkpoint", state, architecture, {"kind": kind})
        folders[kind] = (root / kind / "checkpoint/manifest.json", root / kind / "hf")
        export_checkpoint(folders[kind][0], tokenizer, folders[kind][1])
    return folders


def megatron_logits(state, architecture, tokens):
    start_process_group("cpu")
    model = build_model(architecture, init_std=1.0, scaled_output_init=False, seed=0, device="cpu").eval()
    load_into(model, state, architecture)
    with torch.no_grad():
        return model(tokens, torch.arange(tokens.shape[1]).expand_as(tokens), None)


def hugging_face_logits(folder, tokens):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(tokens).logits


# Export


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_megatrons(kind, exported):
    state, architecture = state_of(kind)
    tokens = token_ids(architecture)
    ours = megatron_logits(state, architecture, tokens)
    theirs = hugging_face_logits(exported[kind][1], tokens)
    assert ours.shape == theirs.shape == (2, architecture.context, 300)
    assert ours.abs().max() > 1
    assert (theirs - ours).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("key", "value"),
    [("rms_norm_eps", 1e-5), ("rope_theta", 10_000.0)],
)
def test_epsilon_and_rotary_base_must_be_right(key, value, exported, tmp_path):
    """Negative control: either at its default value changes the logits far beyond the tolerance above."""
    folder = shutil.copytree(exported["other"][1], tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text())
    config[key] = value
    config["rope_parameters"]["rope_theta"] = config["rope_theta"]
    (folder / "config.json").write_text(json.dumps(config))
    tokens = token_ids(OTHER)
    difference = hugging_face_logits(folder, tokens) - hugging_face_logits(exported["other"][1], tokens)
    assert difference.abs().max() > 1e-2


def test_the_layout_is_llama_where_hugging_face_accepts_it(exported):
    layouts = {
        kind: read_manifest(folder / "manifest.json")["layout"] for kind, (_, folder) in exported.items()
    }
    assert layouts == {"base": "llama", "other": "llama", "stacked": "llama", "expanded": "mistral"}
    for kind, (_, folder) in exported.items():
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert type(model).__name__.lower() == f"{layouts[kind]}forcausallm"


@pytest.mark.parametrize("kind", ["base", "expanded"])
def test_the_tokenizer_gives_the_ids_of_training(kind, exported, tokenizer, caplog):
    ours = Tokenizer.from_file(str(tokenizer))
    theirs = AutoTokenizer.from_pretrained(exported[kind][1])
    text = "  abc def\n\n  gho, 12 naïve ☂ I'd don't"
    assert theirs(text)["input_ids"] == ours.encode(text, add_special_tokens=False).ids
    assert theirs.decode(theirs(text)["input_ids"]) == text
    assert theirs.eos_token == theirs.bos_token == "<|endoftext|>"
    assert theirs.eos_token_id == 0
    assert theirs.vocab_size == 300
    assert "regex" not in caplog.text


def test_a_llama_tokenizer_is_exported_unchanged(tmp_path):
    """The file adds `<s>` before every text; our data ends documents with `</s>` and has no `<s>`."""
    words = ["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrst"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    architecture = TINY.with_shape(vocab_size=len(words))
    save_weights(tmp_path / "checkpoint", random_state(architecture, dtype=torch.float32), architecture, {})
    export_checkpoint(tmp_path / "checkpoint/manifest.json", tmp_path / "tokenizer.json", tmp_path / "hf")
    assert (tmp_path / "hf/tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert theirs("a b", add_special_tokens=False)["input_ids"] == [3, 4]
    assert (theirs.eos_token, theirs.eos_token_id) == ("</s>", 2)
    assert json.loads((tmp_path / "hf/config.json").read_text())["bos_token_id"] == 2


def test_generation_stops_at_the_end_of_a_document(exported):
    model = AutoModelForCausalLM.from_pretrained(exported["base"][1])
    assert model.generation_config.eos_token_id == 0
    tokens = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False)
    assert tokens.shape[1] <= 7


def test_the_manifest_lists_every_file(exported):
    folder = exported["base"][1]
    content = verify_payload(folder / "manifest.json")
    assert {*content["payload"], "manifest.json"} == {path.name for path in folder.iterdir()}
    assert content["origin"] == {"kind": "base"}


def test_exporting_twice_gives_equal_bytes(exported, tokenizer, tmp_path):
    checkpoint, folder = exported["expanded"]
    export_checkpoint(checkpoint, tokenizer, tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()


def test_another_tokenizer_is_refused(exported, tmp_path):
    other = Tokenizer(models.WordLevel({"</s>": 0, "a": 1}))
    other.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="a vocabulary of 2, but the checkpoint has 300") as error:
        export_checkpoint(exported["base"][0], tmp_path / "tokenizer.json", tmp_path / "hf")
    assert str(tmp_path / "tokenizer.json") in str(error.value)
    assert not (tmp_path / "hf").exists()


def test_a_damaged_checkpoint_is_not_exported(exported, tokenizer, tmp_path):
    copy = shutil.copytree(exported["base"][0].parent, tmp_path / "copy")
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated"):
        export_checkpoint(copy / "manifest.json", tokenizer, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


# Import


@pytest.mark.parametrize("kind", KINDS)
def test_export_and_import_are_bit_exact(kind, exported, tmp_path):
    checkpoint, folder = exported[kind]
    assert import_hf(folder, tmp_path) == state_of(kind)[1]
    state, architecture = load_weights(tmp_path / "manifest.json")
    expected, shape = load_weights(checkpoint)
    assert architecture == shape
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert read_manifest(tmp_path / "manifest.json")["payload"] == read_manifest(checkpoint)["payload"]


def test_a_model_written_by_transformers_is_read(exported, tmp_path):
    """Sharded, in bfloat16, and with the keys that save_pretrained writes."""
    model = AutoModelForCausalLM.from_pretrained(exported["expanded"][1], dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert (tmp_path / "theirs/model.safetensors.index.json").is_file()
    state, architecture = read_hf(tmp_path / "theirs", context=8)
    assert architecture == WIDE.with_shape(context=8)
    check_state(state, architecture)
    original, _ = load_weights(exported["expanded"][0])
    for name, tensor in original.items():
        assert state[name].dtype == torch.float32
        assert torch.equal(state[name], tensor.bfloat16().float())


BAD = {
    "model_type": ("gpt2", "model_type is 'gpt2'"),
    "num_key_value_heads": (1, "num_key_value_heads is 1, num_attention_heads = 2 is needed"),
    "tie_word_embeddings": (True, "tie_word_embeddings is True, False is needed"),
    "attention_bias": (True, "attention_bias is True"),
    "mlp_bias": (True, "mlp_bias is True"),
    "hidden_act": ("gelu", "hidden_act is 'gelu', 'silu' is needed"),
    "sliding_window": (8, "sliding_window is 8, null or at least the context of 16 is needed"),
    "rope_scaling": ({"type": "linear", "factor": 2.0}, "rope_scaling.rope_type is 'linear'"),
    "rope_parameters": ({"rope_type": "llama3", "rope_theta": 1e4}, "rope_parameters.rope_type is 'llama3'"),
    "quantization_config": ({"bits": 4}, "quantization_config is"),
}


@pytest.mark.parametrize("key", BAD)
def test_other_models_are_refused_by_key_and_value(key, exported, tmp_path):
    value, message = BAD[key]
    folder = shutil.copytree(exported["base"][1], tmp_path / "hf")
    config = json.loads((folder / "config.json").read_text()) | {key: value}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError) as error:
        import_hf(folder, tmp_path / "out")
    assert message in str(error.value)
    assert str(folder / "config.json") in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_mistral_config_with_missing_keys_is_refused():
    """A Mistral config without these keys means grouped keys and values, and a window."""
    config = to_hf_config(WIDE, end_id=0)
    for key, message in (("num_key_value_heads", "is 8"), ("sliding_window", "is 4096")):
        partial = {name: value for name, value in config.items() if name != key}
        with pytest.raises(UserError, match=rf"{key} {message}"):
            from_hf_config(partial, where="config.json", context=8192)


def test_old_llama_configs_are_read():
    config = {key: value for key, value in to_hf_config(OTHER, end_id=0).items()
              if key not in ("num_key_value_heads", "head_dim", "rope_parameters", "attention_bias", "mlp_bias")}  # fmt: skip
    assert from_hf_config(config, where="config.json") == OTHER
    config |= {"rope_scaling": None}
    del config["rope_theta"]
    assert from_hf_config(config, where="config.json").rope_base == 10_000
    del config["rms_norm_eps"]
    with pytest.raises(UserError, match="rms_norm_eps is missing"):
        from_hf_config(config, where="config.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json: no such file"),
        (lambda folder: (folder / "config.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), "neither model.safetensors nor"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "not a complete safetensors file"),
        (lambda folder: drop(folder, "model.layers.1.mlp.up_proj.weight"), "up_proj.weight: missing"),
        (lambda folder: add(folder, "model.layers.0.self_attn.q_proj.bias"), "q_proj.bias: not a weight"),
        (lambda folder: widen(folder, "lm_head.weight"), "lm_head.weight is float64"),
    ],
    ids=["no-config", "bad-config", "no-weights", "bad-weights", "missing-tensor", "extra-tensor", "float64"],
)  # fmt: skip
def test_broken_folders_are_named(change, message, exported, tmp_path):
    folder = shutil.copytree(exported["base"][1], tmp_path / "hf")
    change(folder)
    with pytest.raises(UserError, match=message) as error:
        read_hf(folder)
    assert str(folder) in str(error.value)


def edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def drop(folder, name):
    edit(folder, lambda tensors: tensors.pop(name))


def add(folder, name):
    edit(folder, lambda tensors: tensors.update({name: torch.zeros(32)}))


def widen(folder, name):
    edit(folder, lambda tensors: tensors.update({name: tensors[name].double()}))


def test_rotary_frequencies_of_old_conversions_are_left_out(exported, tmp_path):
    folder = shutil.copytree(exported["base"][1], tmp_path / "hf")
    add(folder, "model.layers.0.self_attn.rotary_emb.inv_freq")
    assert read_hf(folder)[0].keys() == load_weights(exported["base"][0])[0].keys()


def test_layout_of_the_papers_sizes():
    """Of the paper's expanded widths, only those that are divisible by the heads are a LLaMA for Hugging Face."""
    shapes = [(448, 6), (672, 12), (896, 12), (1168, 12), (1568, 24), (2112, 24)]
    found = [
        layout(Architecture(n_layer=1, d_model=d, n_head=h, head_dim=80, d_mlp=8, vocab_size=8, context=8))
        for d, h in shapes
    ]
    assert found == ["mistral", "llama", "mistral", "mistral", "mistral", "llama"]


# Commands


def test_commands_export_and_import(exported, tokenizer, tmp_path, capsys):
    checkpoint = exported["expanded"][0]
    assert (
        main(["export", str(checkpoint), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "hf")]) == 0
    )
    assert "AutoModelForCausalLM" in capsys.readouterr().out
    arguments = ["import-hf", str(tmp_path / "hf"), "--out", str(tmp_path / "back")]
    assert main(arguments) == 0
    assert "n_head 3" in capsys.readouterr().out
    assert load_weights(tmp_path / "back/manifest.json")[1] == WIDE
    assert main([*arguments, "--context", "8"]) == 0
    assert load_weights(tmp_path / "back/manifest.json")[1].context == 8


def test_commands_explain_mistakes(exported, tmp_path, capsys):
    assert main(["import-hf", str(tmp_path / "nothing"), "--out", str(tmp_path)]) == 2
    assert "config.json: no such file" in capsys.readouterr().err
    checkpoint = str(exported["base"][0])
    assert main(["export", checkpoint, "--tokenizer", str(tmp_path / "t.json"), "--out", str(tmp_path)]) == 2
    assert "no such tokenizer file" in capsys.readouterr().err
