"""Every backward pass written by hand against autograd, in float64, over drawn shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.train.test_step import MIXES, sample
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.models.llama import modeling_llama
from transformers.models.mistral import modeling_mistral
from transformers.models.qwen2 import modeling_qwen2
from transformers.models.qwen3 import modeling_qwen3

from modelyard.train import attention as packed
from modelyard.train import whole
from modelyard.train.choose_step import choose_step
from modelyard.train.explicit import attention, norm, rope, swiglu
from modelyard.train.explicit.attention import Heads
from modelyard.train.explicit.projection import Projection
from modelyard.train.explicit.step import ExplicitStep, unknown
from modelyard.train.lora import Adapters, LoraLinear, adapt
from modelyard.train.objective import Preference
from modelyard.train.row import pack
from modelyard.train.step import AutogradStep, hold
from modelyard.train.teacher import Teacher

DOUBLE = torch.float64
few = settings(max_examples=25, deadline=None)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def autograd(function: Callable[..., Tensor], dout: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    given = [one.clone().requires_grad_() for one in inputs]
    return torch.autograd.grad(function(*given), given, dout)


@few
@given(st.integers(1, 9), st.integers(1, 17))
def test_the_norm(tokens: int, width: int) -> None:
    x, dn = draw(tokens, width), draw(tokens, width, seed=1)
    n, inverse = norm.forward(x, 1e-3)
    torch.testing.assert_close(n, x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-3))
    (dx,) = autograd(lambda x: norm.forward(x, 1e-3)[0], dn, x)
    torch.testing.assert_close(norm.backward(dn, n, inverse), dx)


@few
@given(st.integers(1, 9), st.integers(1, 17))
def test_the_gated_product(tokens: int, width: int) -> None:
    both, da = draw(tokens, 2 * width + 3)[:, : 2 * width], draw(tokens, width, seed=1)
    formula = lambda both: functional.silu(both[:, :width]) * both[:, width:]  # noqa: E731
    torch.testing.assert_close(swiglu.forward(both), formula(both))
    dboth, again = swiglu.backward(da, both)
    torch.testing.assert_close(again, formula(both))
    torch.testing.assert_close(dboth, autograd(formula, da, both)[0])


@few
@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 6))
def test_the_turn_of_positions(tokens: int, count: int, half: int) -> None:
    positions = torch.randint(0, 500, (tokens,), generator=torch.Generator().manual_seed(tokens))
    frequencies = torch.linspace(1, 0.01, half, dtype=DOUBLE)
    angles = rope.Angles(positions, frequencies, 0.7)
    both = torch.cat([positions[:, None] * frequencies] * 2, -1)

    def formula(x: Tensor) -> Tensor:
        return 0.7 * modeling_llama.apply_rotary_pos_emb(x, x, both.cos(), both.sin(), 1)[0]

    x, dx = draw(tokens, count, 2 * half), draw(tokens, count, 2 * half, seed=1)
    turned, back = x.clone(), dx.clone()
    angles.turn(turned)
    angles.turn_back(back)
    torch.testing.assert_close(turned, formula(x))
    torch.testing.assert_close(back, autograd(formula, dx, x)[0])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 150), min_size=1, max_size=5),
    st.integers(0, 9),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_the_attention_of_packed_samples(lengths: list[int], prefix: int, share: int, keys: int) -> None:
    prefix = prefix if len(lengths) > 1 else 0
    heads = Heads(share * keys, keys, 4)
    spans, at = [], prefix
    for length in lengths:
        spans.append((at, at + length))
        at += length
    layout = packed.lay_out(spans, prefix)
    qkv, dout = draw(at, heads.width), draw(at, heads.queries * heads.size, seed=1)

    sees = torch.zeros(at, at, dtype=torch.bool)
    for start, stop in [(0, prefix), *spans]:
        sees[start:stop, start:stop] = True
        sees[start:stop, :prefix] = True
    sees &= torch.ones(at, at, dtype=torch.bool).tril()

    def formula(qkv: Tensor) -> Tensor:
        split = qkv.view(at, -1, heads.size).split((heads.queries, heads.keys, heads.keys), 1)
        q, k, v = (part.transpose(0, 1) for part in split)
        k, v = k.repeat_interleave(share, 0), v.repeat_interleave(share, 0)
        p = (q @ k.transpose(1, 2)).masked_fill(~sees, float("-inf")).softmax(-1)
        return (p @ v).transpose(0, 1).reshape(at, -1)

    out, kept = attention.forward(qkv, layout, heads)
    torch.testing.assert_close(out, formula(qkv))
    torch.testing.assert_close(attention.backward(dout, layout, heads, kept), autograd(formula, dout, qkv)[0])


@few
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
def test_projections_with_their_adapters(
    outs: list[int], inputs: int, rank: int, normed: bool, biased: bool
) -> None:
    layers = []
    for seed, out in enumerate(outs):
        layer = LoraLinear(torch.nn.Linear(inputs, out, bias=biased, dtype=DOUBLE), 2.5)
        layer.a, layer.b = draw(rank, inputs, seed=seed), draw(out, rank, seed=seed + 9)
        layers.append(layer)
    weight = draw(inputs, seed=3) if normed else None
    projection = Projection(layers, weight, 2.5)
    projection.use(projection.weight)
    projection.fold()
    x, dy = draw(5, inputs, seed=4), draw(5, sum(outs), seed=5)

    def formula(x: Tensor, *adapters: Tensor) -> Tensor:
        n = x if weight is None else x * weight
        outs = [
            functional.linear(n, layer.weight.detach() + 2.5 * b @ a, layer.bias)
            for layer, a, b in zip(layers, adapters[::2], adapters[1::2], strict=True)
        ]
        return torch.cat(outs, -1)

    adapters = [tensor for layer in layers for tensor in (layer.a, layer.b)]
    y, u = projection.forward(x)
    torch.testing.assert_close(y, formula(x, *adapters).detach())
    dx, v = projection.backward(dy)
    into_a, into_b = [torch.zeros_like(one.a) for one in layers], [torch.zeros_like(one.b) for one in layers]
    projection.learns(into_a, into_b)
    projection.learn(dy, x, u, v, 0)
    projection.learn(dy, x, u, v, 0)  # what is there is added to
    wanted = autograd(formula, dy, x, *adapters)
    torch.testing.assert_close(dx, wanted[0])
    for ours, theirs in zip((*into_a, *into_b), (*wanted[1::2], *wanted[2::2]), strict=True):
        torch.testing.assert_close(ours, 2 * theirs)


SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 301,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "mistral": {"tie_word_embeddings": False, "sliding_window": None},
    "qwen2": {"tie_word_embeddings": False},
    "qwen3": {"tie_word_embeddings": True, "head_dim": 24},
}


def config(name: str, **more: Any) -> PretrainedConfig:
    return AutoConfig.for_model(name, **{**SHAPE, **FAMILIES[name], **more})


def model_of(config: PretrainedConfig, dtype: torch.dtype) -> tuple[Any, Adapters]:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=packed.register()).to(dtype).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    adapters = adapt(model, rank=3, scale=2.0, seed=1)
    if dtype == DOUBLE:
        adapters = as_double(adapters)
    adapters.flat.add_(draw(*adapters.flat.shape, seed=2).to(dtype), alpha=0.1)
    return model, adapters


def as_double(adapters: Adapters) -> Adapters:
    """The same adapters, whose tensors are made in float32, in float64."""
    flat = adapters.flat.double()
    for name, (a, b) in adapters.views(flat).items():
        adapters.layers[name].a, adapters.layers[name].b = a.requires_grad_(), b.requires_grad_()
    return Adapters(adapters.layers, flat, adapters.rank, adapters.scale)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' norms and positions in the model's own type: they are float32 there even in float64."""

    def plain(self: Any, hidden: Tensor) -> Tensor:
        inverse = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * (hidden * inverse)

    for module, name in (
        (modeling_llama, "Llama"),
        (modeling_mistral, "Mistral"),
        (modeling_qwen2, "Qwen2"),
        (modeling_qwen3, "Qwen3"),
    ):
        monkeypatch.setattr(getattr(module, f"{name}RMSNorm"), "forward", plain)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_whole_step_of_each_family(name: str, mix: str) -> None:
    model, adapters = model_of(config(name), DOUBLE)
    batch = [pack(MIXES[mix]), pack([sample(7, 100)]), pack(MIXES[mix][:1])]
    found = []
    for kind in (AutogradStep, ExplicitStep):
        step = kind(model, adapters, workers=2, threads=2)
        result = step.forward_backward(batch)
        found.append((result.loss, step.gradient, float(step.losses(batch[:1])[0].sum())))
        step.close()
    (loss, gradient, first), (our_loss, our_gradient, our_first) = found
    assert our_loss == pytest.approx(loss, rel=1e-6)
    assert our_first == pytest.approx(first, rel=1e-6)
    assert our_gradient.abs().max() > 0
    assert torch.linalg.vector_norm(our_gradient - gradient) < 1e-6 * torch.linalg.vector_norm(gradient)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_whole_step_of_each_family_with_all_of_it_trained(name: str, taught: bool) -> None:
    teacher = (
        Teacher(model_of(config("llama"), DOUBLE)[0], 1 << 30, share=0.5, temperature=2.0) if taught else None
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(name), attn_implementation=packed.register())
    model = model.to(DOUBLE).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    trained = whole.take(model)
    batch = [pack(MIXES["a shared beginning"]), pack([sample(7, 100)]), pack(MIXES["several lengths"])]
    found = []
    for kind in (AutogradStep, ExplicitStep):
        step = kind(model, trained, workers=2, threads=2)
        step.teacher = teacher
        found.append((step.forward_backward(batch).loss, trained.named(step.gradient)))
        step.close()
    (loss, gradients), (our_loss, ours) = found
    assert our_loss == pytest.approx(loss, rel=1e-6)
    for at, gradient in gradients.items():
        if not at.endswith("k_proj.bias"):  # a shift of all keys changes no chance: its gradient is zero
            assert gradient.abs().max() > 0
        apart = torch.linalg.vector_norm(ours[at] - gradient)
        assert apart < 1e-6 * torch.linalg.vector_norm(gradient) + 1e-6, at


def test_a_preference_has_the_same_gradient_by_hand() -> None:
    model, adapters = model_of(config("llama"), torch.float32)
    row = pack([replace(one, reference=20.0 + at) for at, one in enumerate(MIXES["several lengths"])])
    found = []
    for kind in (AutogradStep, ExplicitStep):
        step = kind(model, adapters, workers=1, threads=1)
        step.objective = Preference(0.3)
        found.append((step.forward_backward([row]), step.gradient))
    assert found[0][0].count == found[1][0].count == 2
    assert found[0][0].loss == pytest.approx(found[1][0].loss, rel=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-4)


def test_bfloat16_gives_nearly_the_same_and_does_not_lose_a_small_adapter() -> None:
    model, adapters = model_of(config("llama"), torch.float32)
    for parameter in model.parameters():  # as most published weights are
        parameter.data = parameter.data.to(torch.bfloat16).float()
    adapters.flat.mul_(0.05)
    batch = [pack(MIXES["several lengths"])]
    wide = ExplicitStep(model, adapters, workers=1, threads=1)
    loss, gradient = wide.forward_backward(batch).loss, wide.gradient.clone()
    narrow = ExplicitStep(model, adapters, workers=1, threads=1)
    hold(narrow, torch.bfloat16)
    assert narrow.forward_backward(batch).loss == pytest.approx(loss, rel=0.02)
    assert functional.cosine_similarity(narrow.gradient, gradient, dim=0) > 0.98
    table = narrow._layers[0].down._table
    before = narrow._layers[0].down.forward(torch.ones(1, 80))[0].clone()
    adapters.flat.zero_()
    narrow.prepare()
    assert table.dtype == torch.bfloat16
    assert not torch.equal(before, narrow._layers[0].down.forward(torch.ones(1, 80))[0])


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"hidden_act": "gelu"}, "activation is gelu"),
        ({"sliding_window": 64}, "sees 64 tokens"),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "type dynamic"),
    ],
)
def test_what_it_does_not_know_it_says(more: dict[str, Any], why: str) -> None:
    name = "mistral" if "sliding_window" in more else "llama"
    model = AutoModelForCausalLM.from_config(config(name, **more))
    assert why in unknown(model, 512)
    assert unknown(AutoModelForCausalLM.from_config(config(name)), 512) == ""


def test_it_is_chosen_where_it_is_seen_to_be_right_and_the_trial_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, adapters = model_of(config("llama"), torch.float32)
    before = adapters.flat.clone()
    step, choice = choose_step(model, adapters, sample(1, 30), 512, 2, 2)
    assert (step.name, choice.value) == ("explicit", "explicit")
    assert torch.equal(adapters.flat, before)

    right = swiglu.backward
    monkeypatch.setattr(swiglu, "backward", lambda da, both: right(da * 1.01, both))
    model, adapters = model_of(config("llama"), torch.float32)
    step, choice = choose_step(model, adapters, sample(1, 30), 512, 2, 2)
    assert step.name == "autograd"
    assert "off autograd's" in choice.why
    assert torch.equal(adapters.flat, before)
    assert step.forward_backward([pack([sample(2, 40)])]).count == 5


def test_another_architecture_is_trained_by_autograd() -> None:
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("olmo", **SHAPE), attn_implementation=packed.register()
    ).eval()
    adapters = adapt(model, rank=3, scale=2.0, seed=1)
    step, choice = choose_step(model, adapters, sample(1, 30), 512, 1, 1)
    assert step.name == "autograd"
    assert "olmo is not of Llama's family" in choice.why
