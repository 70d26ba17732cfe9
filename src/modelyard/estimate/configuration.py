"""A config.json as the shape of a decoder: dense or a mixture of experts, in each family's own words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .shape import Shape

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTH = ("hidden_size", "n_embd", "d_model")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
KEYS = ("num_key_value_heads", "num_kv_heads")
INNER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
TAKEN = ("num_experts_per_tok", "experts_per_token", "moe_top_k")
SPARSE_STEP = ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq")
# Two matrices between the streams, not three, and norms that take the mean off.
_UNGATED = """
gpt2 gpt_neo gpt_neox gptj gpt_bigcode codegen opt bloom falcon mpt phi starcoder2 nemotron
"""
# Head and embedding are one unless the file says otherwise.
_TIED = """
gpt2 gpt_neo gpt_bigcode opt bloom falcon mpt starcoder2 gemma gemma2 gemma3 gemma3_text cohere cohere2
"""
_ENCODERS = "bert roberta xlm-roberta distilbert electra deberta deberta-v2 albert t5 bart"
UNGATED, TIED, ENCODERS = (frozenset(names.split()) for names in (_UNGATED, _TIED, _ENCODERS))


def decoder(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json tells; None where it tells no decoder.

    Layers of different widths (some dense, some of experts) are told by their mean. Keys that are compressed
    (DeepSeek's latent attention) are told by what they leave in the cache and by attention's parameters.
    """
    try:
        config = {**config, **(config.get("text_config") or {})}  # of models that see as well
        kind = str(config.get("model_type", ""))
        if kind in ENCODERS:
            return None
        layers, width, heads = (_count(config, names) for names in (LAYERS, WIDTH, HEADS))
        inner, idle = _inner(config, layers, width)
        keys, size = _keys(config, width, heads)
        return Shape(
            layers=layers,
            width=width,
            inner=inner,
            heads=heads,
            keys=keys,
            size=size,
            words=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", kind in TIED)),
            normed_heads=kind in ("qwen3", "qwen3_moe"),
            gated=kind not in UNGATED,
            root_mean_square=kind not in UNGATED,
            idle=idle,
        )
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def of_config(config: Mapping[str, Any]) -> Shape | None:
    """The shape of a dense decoder of Llama's kind, which the explicit step trains; None for any other."""
    shape = decoder(config)
    plain = shape is not None and shape.gated and not shape.idle and not config.get("kv_lora_rank")
    return shape if plain else None


def _inner(config: Mapping[str, Any], layers: int, width: int) -> tuple[int, int]:
    """(Inner width that a token meets, that of the experts that it does not), the mean of the layers."""
    dense = _count(config, ("intermediate_size_mlp", *INNER), 4 * width)
    experts = _count(config, EXPERTS, 1)
    if experts == 1:
        return dense, 0
    each = _count(config, ("moe_intermediate_size", *INNER))
    taken = _count(config, TAKEN, 1)
    shared = _count(config, ("shared_expert_intermediate_size",), 0)
    shared += each * _count(config, ("n_shared_experts",), int(config.get("model_type") == "llama4_text"))
    plain = _count(config, ("first_k_dense_replace",), 0) + len(config.get("mlp_only_layers") or ())
    sparse = max(0, layers - plain) // _count(config, SPARSE_STEP, 1)
    met = (layers - sparse) * dense + sparse * (taken * each + shared)
    return round(met / layers), round(sparse * (experts - taken) * each / layers)


def _keys(config: Mapping[str, Any], width: int, heads: int) -> tuple[int, int]:
    """(Key heads, numbers of a head)."""
    if not config.get("kv_lora_rank"):
        one = bool(config.get("multi_query")) and not config.get("new_decoder_architecture")
        return _count(config, KEYS, 1 if one else heads), _count(config, ("head_dim",), width // heads)
    # arXiv:2405.04434, section 2.1: queries and keys with and without positions, values, what is compressed.
    cached, queries = _count(config, ("kv_lora_rank",)), _count(config, ("q_lora_rank",), 0)
    plain, turned, value = (
        int(config[name]) for name in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    )
    asked = heads * (plain + turned)
    matrices = queries * (width + asked) if queries else width * asked
    matrices += width * (cached + turned) + cached * heads * (plain + value) + heads * value * width
    left = (cached + turned) / 2  # numbers of keys, and as many of values
    size = round((matrices / (2 * width) - left) / heads)
    return max(1, round(left / size)), size


def _count(config: Mapping[str, Any], names: tuple[str, ...], default: int | None = None) -> int:
    """The first of these that is told. Raises KeyError where none is and there is no default."""
    for name in names:
        if config.get(name) is not None:
            return int(config[name])
    if default is None:
        raise KeyError(names[0])
    return default
