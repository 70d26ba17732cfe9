"""A tiny random Llama as a Hugging Face folder: every room's tests run on it, no download, no torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 320  # 3 special tokens, 256 bytes and 61 merges

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

TEXT = (
    "Answer the question with the exact words of the passage. If the passage does not state the answer, "
    "write NOT STATED. Question: which value does the parameter timeout have when nobody names it? "
    "system user assistant The default of limit is 30. Raises ValueError when the file is missing. "
    "Return a new list of the words in the text, in order. 0 1 2 3 4 5 6 7 8 9 10 20 30 100"
)


def tiny_tokenizer() -> Tokenizer:
    """A byte-level BPE of the kind of SmolLM2: single digits, then GPT-2's pattern."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT] * 4, trainer)
    return tokenizer


def tiny_model(
    folder: Path,
    seed: int = 0,
    *,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 2,
    kv_heads: int = 1,
    intermediate: int = 128,
    context: int = 1024,
    tied: bool = True,
    rope_theta: float = 100_000.0,
    eps: float = 1e-5,
) -> Path:
    """Write the model into `folder` (made if need be) and return it. About 0.4 MB; same seed, same bytes.

    Weights are drawn wide enough that the next token is far from uniform, so that a fault shows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer()
    vocabulary = tokenizer.get_vocab_size()
    head_dim = hidden // heads
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * gain / np.sqrt(columns)).astype(np.float32)

    def norm() -> np.ndarray:
        return (1 + 0.1 * random.standard_normal(hidden)).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(vocabulary, hidden, 2.0), "model.norm.weight": norm()}
    for at in range(layers):
        layer = f"model.layers.{at}."
        weights[layer + "input_layernorm.weight"] = norm()
        weights[layer + "post_attention_layernorm.weight"] = norm()
        weights[layer + "self_attn.q_proj.weight"] = matrix(heads * head_dim, hidden, 2.0)
        weights[layer + "self_attn.k_proj.weight"] = matrix(kv_heads * head_dim, hidden, 2.0)
        weights[layer + "self_attn.v_proj.weight"] = matrix(kv_heads * head_dim, hidden)
        weights[layer + "self_attn.o_proj.weight"] = matrix(hidden, heads * head_dim)
        weights[layer + "mlp.gate_proj.weight"] = matrix(intermediate, hidden)
        weights[layer + "mlp.up_proj.weight"] = matrix(intermediate, hidden)
        weights[layer + "mlp.down_proj.weight"] = matrix(hidden, intermediate)
    if not tied:
        weights["lm_head.weight"] = matrix(vocabulary, hidden, 2.0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    _write(
        folder / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": False,
            "mlp_bias": False,
            "attention_dropout": 0.0,
            "dtype": "float32",
            "head_dim": head_dim,
            "hidden_act": "silu",
            "hidden_size": hidden,
            "initializer_range": 0.02,
            "intermediate_size": intermediate,
            "max_position_embeddings": context,
            "num_attention_heads": heads,
            "num_hidden_layers": layers,
            "num_key_value_heads": kv_heads,
            "rms_norm_eps": eps,
            "rope_parameters": {"rope_theta": rope_theta, "rope_type": "default"},
            "tie_word_embeddings": tied,
            "use_cache": True,
            "vocab_size": vocabulary,
            **ids,
        },
    )
    _write(folder / "generation_config.json", ids)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": SPECIAL[1],
            "eos_token": SPECIAL[2],
            "pad_token": SPECIAL[2],
            "unk_token": SPECIAL[0],
            "add_bos_token": False,
            "model_max_length": context,
        },
    )
    _write(
        folder / "base.json",
        {"name": "tiny", "licence": "Apache-2.0", "source": f"tests/tiny.py seed {seed}", "notes": []},
    )
    (folder / "chat_template.jinja").write_text(CHATML, "utf-8")
    return folder


def tiny_qwen2(folder: Path, seed: int = 0) -> Path:
    """The tiny model as a Qwen2: with biases at q, k and v."""
    tiny_model(folder, seed)
    weights = load_file(folder / "model.safetensors")
    random = np.random.default_rng(seed)
    for name in [
        name for name in weights if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))
    ]:
        rows = len(weights[name])
        weights[name.replace("weight", "bias")] = random.standard_normal(rows).astype(np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    for name in ("attention_bias", "mlp_bias", "head_dim"):
        del config[name]
    config |= {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": False}
    _write(folder / "config.json", config)
    return folder


def _write(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")
