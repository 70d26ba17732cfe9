"""From a Hugging Face config to GGUF: which architectures are known, their numbers, their tensors' names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SourceError

# Names by Hugging Face's modelling code, and llama.cpp's gguf-py/gguf/constants.py.
TENSORS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
LAYER_TENSORS = {
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
BIASES = {f"self_attn.{at}_proj.bias": f"attn_{at}.bias" for at in "qkv"}
SUPPORTED = {"LlamaForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2"}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder's numbers under GGUF's names."""

    name: str  # "llama" or "qwen2"
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    vocabulary: int
    rope_theta: float
    eps: float
    tied: bool

    @property
    def permuted(self) -> bool:
        """Whether rows of q and k are reordered: for llama, llama.cpp turns neighbouring pairs."""
        return self.name == "llama"

    def tensor(self, name: str) -> str:
        """GGUF's name of a Hugging Face tensor. Raises SourceError when it has no place in the file."""
        layer = LAYER.fullmatch(name)
        found = TENSORS.get(name)
        if layer:
            at, rest = int(layer[1]), layer[2]
            inner = LAYER_TENSORS.get(rest) or (BIASES.get(rest) if self.name == "qwen2" else None)
            found = f"blk.{at}.{inner}" if inner and at < self.layers else None
        if found is None:
            raise SourceError(
                f"the tensor {name} has no place in a {self.name} file",
                try_="merge adapters into the weights first, or another base model",
            )
        return found

    def expected(self) -> dict[str, tuple[int, ...]]:
        """Every tensor that the file must have, under Hugging Face's name, with its shape."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, self.hidden)}
        inner: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (self.hidden,),
            "self_attn.q_proj.weight": (q, self.hidden),
            "self_attn.k_proj.weight": (kv, self.hidden),
            "self_attn.v_proj.weight": (kv, self.hidden),
            "self_attn.o_proj.weight": (self.hidden, q),
            "post_attention_layernorm.weight": (self.hidden,),
            "mlp.gate_proj.weight": (self.intermediate, self.hidden),
            "mlp.up_proj.weight": (self.intermediate, self.hidden),
            "mlp.down_proj.weight": (self.hidden, self.intermediate),
        }
        if self.name == "qwen2":
            inner |= {
                "self_attn.q_proj.bias": (q,),
                "self_attn.k_proj.bias": (kv,),
                "self_attn.v_proj.bias": (kv,),
            }
        for at in range(self.layers):
            shapes |= {f"model.layers.{at}.{name}": shape for name, shape in inner.items()}
        shapes["model.norm.weight"] = (self.hidden,)
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocabulary, self.hidden)
        return shapes


def read(config: Mapping[str, Any]) -> Architecture:
    """The architecture of a Hugging Face config.json.

    Raises SourceError for an architecture, activation, bias or rope that the file could not carry faithfully.
    """
    named = (config.get("architectures") or ["none"])[0]
    if named not in SUPPORTED:
        raise SourceError(
            f"the architecture {named} cannot be converted to GGUF",
            where="config.json",
            try_=f"a base model of {' or '.join(SUPPORTED)}",
        )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope_type = rope.get("rope_type") or rope.get("type") or "default"
    refused = {
        f"rope of type {rope_type}": rope_type != "default",
        f"activation {config.get('hidden_act')}": config.get("hidden_act", "silu") != "silu",
        "biases in attention": bool(config.get("attention_bias")),
        "biases in the MLP": bool(config.get("mlp_bias")),
        "a sliding window": bool(config.get("use_sliding_window")),
        "rope on a part of each head": config.get("partial_rotary_factor", 1.0) != 1.0,
    }
    bad = [what for what, is_so in refused.items() if is_so]
    if bad:
        raise SourceError(
            f"the model has {', '.join(bad)}, which both engines could not be trusted to run",
            where="config.json",
            try_="another base model",
        )
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Architecture(
            name=SUPPORTED[named],
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            context=int(config["max_position_embeddings"]),
            vocabulary=int(config["vocab_size"]),
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0),
            eps=float(config["rms_norm_eps"]),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise SourceError(f"config.json has no {error.args[0]}", where="config.json") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise SourceError(f"config.json cannot be read: {error}", where="config.json") from None
