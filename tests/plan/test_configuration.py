"""Shapes of published models from what stands in their config.json; sizes as their model cards tell them."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.estimate.configuration import decoder, of_config
from modelyard.estimate.serving import cache_bytes_per_token

Told = dict[str, Any]
PLAIN: Told = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "vocab_size": 32000,
               "num_attention_heads": 32, "num_key_value_heads": 8}  # fmt: skip
MIXTRAL = PLAIN | {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
QWEN3_30B: Told = {
    **{"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48},
    **{"num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936},
    **{"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1},
}
DEEPSEEK_V3: Told = {
    **{"model_type": "deepseek_v3", "hidden_size": 7168, "intermediate_size": 18432, "num_hidden_layers": 61},
    **{"num_attention_heads": 128, "num_key_value_heads": 128, "vocab_size": 129280, "n_shared_experts": 1},
    **{"n_routed_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 2048},
    **{"first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128},
    **{"qk_rope_head_dim": 64, "v_head_dim": 128},
}
SCOUT: Told = {
    "model_type": "llama4",
    "text_config": {
        **{"model_type": "llama4_text", "hidden_size": 5120, "intermediate_size": 8192, "head_dim": 128},
        **{"intermediate_size_mlp": 16384, "num_hidden_layers": 48, "num_attention_heads": 40},
        **{"num_key_value_heads": 8, "vocab_size": 202048, "num_local_experts": 16, "num_experts_per_tok": 1},
    },
}
GPT2: Told = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}
FALCON: Told = {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "vocab_size": 65024,
                "num_attention_heads": 71, "multi_query": True}  # fmt: skip
NEOX: Told = {"model_type": "gpt_neox", "hidden_size": 6144, "intermediate_size": 24576, "vocab_size": 50432,
              "num_hidden_layers": 44, "num_attention_heads": 64, "tie_word_embeddings": False}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "billions", "met"),
    [
        (PLAIN | {"model_type": "mistral"}, 7.24, 7.24),
        (MIXTRAL, 46.7, 12.9),
        (QWEN3_30B, 30.5, 3.3),
        (DEEPSEEK_V3, 671, 37.5),
        (SCOUT, 108, 17.2),  # of 109, the rest of which sees
        (GPT2, 0.124, 0.124),
        (FALCON, 6.92, 6.92),
        (NEOX, 20.6, 20.6),
    ],
)
def test_a_published_configuration_has_the_parameters_of_its_card(
    config: Told, billions: float, met: float
) -> None:
    shape = decoder(config)
    assert shape is not None
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.015)
    assert shape.met / 1e9 == pytest.approx(met, rel=0.025)
    assert shape.met <= shape.parameters


def test_compressed_keys_leave_little_in_the_cache() -> None:
    shape = decoder(DEEPSEEK_V3)
    assert shape is not None
    assert cache_bytes_per_token(shape) == pytest.approx(61 * (512 + 64) * 2, rel=0.05)


@pytest.mark.parametrize("config", [MIXTRAL, DEEPSEEK_V3, GPT2, NEOX])
def test_what_the_explicit_step_does_not_train_is_not_told_as_if_it_did(config: Told) -> None:
    assert of_config(config) is None


def test_a_dense_decoder_is_told_to_the_explicit_step() -> None:
    assert of_config(PLAIN) == decoder(PLAIN)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "bert", **PLAIN},
        PLAIN | {"text_config": "elsewhere"},
        PLAIN | {"num_attention_heads": 0},
        PLAIN | {"vocab_size": "many"},
        DEEPSEEK_V3 | {"v_head_dim": None},
    ],
)
def test_what_is_no_decoder_is_none(config: Told) -> None:
    assert decoder(config) is None
