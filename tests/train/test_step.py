"""The packed step against the model's own loss, sample by sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.tiny import tiny_model
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from modelyard.errors import TrainingError
from modelyard.train import attention, head, row, whole
from modelyard.train.choose_step import choose_step
from modelyard.train.head import Head, Taught, head_loss
from modelyard.train.lora import Adapters, LoraLinear, adapt
from modelyard.train.objective import Preference
from modelyard.train.row import pack, shared
from modelyard.train.samples import Sample
from modelyard.train.step import AutogradStep, Workers, check_packing, hold


def sample(seed: int, length: int, *, prefix: int = 0) -> Sample:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 300, (length,), generator=random).tolist()
    ids[:prefix] = range(20, 20 + prefix)
    learn = [False] * (length - 4) + [True] * 4
    learn[length // 2 + prefix // 2] = True  # a second answer in the middle
    return Sample(tuple(ids), tuple(learn))


def load(base: Path, *, packed: bool) -> tuple[torch.nn.Module, Adapters]:
    name = attention.register() if packed else "eager"
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation=name).eval()
    adapters = adapt(model, rank=4, scale=2.0, seed=1)
    random = torch.Generator().manual_seed(2)
    adapters.flat.add_(torch.randn(adapters.flat.shape, generator=random), alpha=0.05)  # B is no longer zero
    return model, adapters


def alone(base: Path, samples: list[Sample]) -> tuple[float, torch.Tensor]:
    """Summed loss and gradient, each sample by itself through the model's own forward pass and head."""
    model, adapters = load(base, packed=False)
    total = torch.zeros(())
    for one in samples:
        logits = model(torch.tensor([one.ids]), use_cache=False).logits[0, :-1]
        labels = torch.tensor(
            [-100 if not learn else token for token, learn in zip(one.ids, one.learn, strict=True)]
        )
        total = total + functional.cross_entropy(logits, labels[1:], reduction="sum")
    gradients = torch.autograd.grad(total, adapters.parameters())
    return total.item(), torch.cat([gradient.reshape(-1) for gradient in gradients])


MIXES = {
    "several lengths": [sample(1, 40), sample(2, 23), sample(3, 90), sample(4, 12)],
    "a shared beginning": [sample(1, 60, prefix=16), sample(2, 33, prefix=16), sample(3, 90, prefix=16)],
    "one sample": [sample(5, 50)],
}


@pytest.mark.parametrize("tied", [True, False])
def test_the_gradient_of_a_whole_model_is_that_of_its_own_loss(tmp_path: Path, tied: bool) -> None:
    folder = tiny_model(tmp_path, tied=tied)
    samples = MIXES["several lengths"]
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    total = torch.zeros(())
    for one in samples:
        labels = torch.tensor(one.ids).masked_fill(~torch.tensor(one.learn), -100)[None]
        total = total + theirs(torch.tensor([one.ids]), labels=labels).loss * one.labels
    total.backward()
    ours = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention.register()
    )
    trained = whole.take(ours)
    step = AutogradStep(ours, trained, workers=1, threads=1)
    assert step.forward_backward([pack(samples)]).loss == pytest.approx(total.item(), rel=1e-5)
    views = trained.named(step.gradient)
    assert set(views) == {name for name, _ in theirs.named_parameters()}
    for name, parameter in theirs.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(views[name], parameter.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("workers", [1, 2])
def test_the_packed_loss_and_gradient_are_those_of_each_sample_alone(
    base: Path, mix: str, workers: int
) -> None:
    samples = MIXES[mix]
    model, adapters = load(base, packed=True)
    step = AutogradStep(model, adapters, workers=workers, threads=workers)
    try:
        result = step.forward_backward([pack(samples), pack(samples[:1])])
    finally:
        step.close()
    loss, gradient = alone(base, [*samples, samples[0]])
    assert result.count == sum(one.labels for one in [*samples, samples[0]])
    assert result.loss == pytest.approx(loss, rel=1e-5)
    assert torch.linalg.vector_norm(step.gradient - gradient) < 1e-5 * torch.linalg.vector_norm(gradient)


def test_the_shared_beginning_is_found_and_laid_once() -> None:
    samples = MIXES["a shared beginning"]
    assert shared(samples) == 16
    packed = pack(samples)
    assert packed.ids.shape[1] == sum(map(len, samples)) - 2 * 16
    assert packed.tokens == sum(map(len, samples))


def test_a_shared_beginning_never_holds_what_is_to_be_learned() -> None:
    one = Sample(tuple(range(20)), tuple(place >= 12 for place in range(20)))
    assert shared([one, one]) == 11
    assert len(pack([one, one]).labels) == 2 * one.labels


def test_an_adapted_layer_and_its_gradients_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(torch.nn.Linear(7, 5).double(), scale=2.5)
    layer.a = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    layer.b = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 4, 7, dtype=torch.float64, requires_grad=True)
    formula = functional.linear(x, layer.weight + 2.5 * layer.b @ layer.a, layer.bias)
    torch.testing.assert_close(layer(x), formula)
    wanted = torch.randn_like(formula)
    ours = torch.autograd.grad(layer(x), (x, layer.a, layer.b), wanted)
    theirs = torch.autograd.grad(formula, (x, layer.a, layer.b), wanted)
    torch.testing.assert_close(ours, theirs)


def test_bfloat16_gives_nearly_the_same_loss_by_plain_and_by_fused_attention(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = MIXES["several lengths"]
    model, adapters = load(base, packed=True)
    step = AutogradStep(model, adapters, workers=1, threads=1)
    wide = step.forward_backward([pack(samples)]).loss
    exact = step.gradient.clone()
    hold(step, torch.bfloat16)
    for limit in (attention.PLAIN_TOKENS_MAX, 0):
        monkeypatch.setattr(attention, "PLAIN_TOKENS_MAX", limit)
        assert step.forward_backward([pack(samples)]).loss == pytest.approx(wide, rel=0.02)
        assert functional.cosine_similarity(step.gradient, exact, dim=0) > 0.98
    assert step.gradient.dtype == torch.float32


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden [11, 8], weight [30, 8], bias [30], labels [11], with a head that takes 4 rows at a time."""
    torch.manual_seed(0)
    monkeypatch.setattr(head, "ROWS", 4)
    hidden, weight = torch.randn(11, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True)
    return hidden, weight, torch.randn(30), torch.randint(0, 30, (11,))


def test_the_head_in_pieces_equals_the_head_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, bias, labels = in_pieces(monkeypatch)
    expected = functional.cross_entropy(hidden @ weight.T + bias, labels, reduction="none")
    wanted = torch.autograd.grad(expected.sum(), (hidden, weight))
    into = torch.ones_like(weight)
    losses, gradient = Head(weight, bias).losses_and_gradient(hidden.detach(), labels, into)
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close((gradient, into - 1), wanted)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_teacher_pulls_the_head_towards_its_chances(
    monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    hidden, weight, bias, labels = in_pieces(monkeypatch)
    theirs, wide = torch.randn(11, 5), torch.randn(30, 5)
    logits, told = hidden @ weight.T + bias, theirs @ wide.T
    own = functional.cross_entropy(logits, labels, reduction="none")
    apart = functional.kl_div(
        (logits / temperature).log_softmax(-1), (told / temperature).softmax(-1), reduction="none"
    ).sum(1)
    expected = 0.3 * own + 0.7 * temperature**2 * apart
    wanted = torch.autograd.grad(expected.sum(), (hidden, weight))
    taught = Taught(theirs, Head(wide, None), 0.7, temperature)
    into = torch.zeros_like(weight)
    losses, gradient = Head(weight, bias).losses_and_gradient(hidden.detach(), labels, into, taught)
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close((gradient, into), wanted)


def test_the_head_is_a_node_of_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, _, labels = in_pieces(monkeypatch)
    wanted = torch.autograd.grad(
        3 * functional.cross_entropy(hidden @ weight.T, labels, reduction="sum"), (hidden, weight)
    )

    def of(hidden: Tensor, into: Tensor | None) -> tuple[Tensor, Tensor]:
        losses, gradient = Head(weight, None).losses_and_gradient(hidden, labels, into)
        return losses.sum(), gradient

    loss = 3 * head_loss(hidden, weight, of)
    torch.testing.assert_close(torch.autograd.grad(loss, (hidden, weight)), wanted)


def test_a_label_that_is_nearly_impossible_still_has_a_finite_loss() -> None:
    hidden = torch.full((1, 4), 100.0)
    weight = torch.stack([torch.ones(4), -torch.ones(4)])
    losses, _ = Head(weight, None).losses_and_gradient(hidden, torch.tensor([1]))
    assert losses.item() == pytest.approx(800)


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_a_preference_is_the_papers_loss_of_each_pair(beta: float) -> None:
    row = pack([replace(one, reference=float(at)) for at, one in enumerate(MIXES["a shared beginning"] * 2)])
    losses = torch.rand(len(row.labels), requires_grad=True)
    log_p = torch.stack([-losses[row.of == at].sum() + row.references[at] for at in range(6)])
    expected = -functional.logsigmoid(beta * (log_p[0::2] - log_p[1::2])).sum()
    loss, weights = Preference(beta).weigh(losses.detach(), row)
    assert Preference(beta).count(row) == 3
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(weights, torch.autograd.grad(expected, losses)[0])


def test_an_architecture_that_the_step_does_not_know_is_refused(base: Path) -> None:
    model, adapters = load(base, packed=True)
    step = AutogradStep(model, adapters, workers=1, threads=1)
    check_packing(step, model, sample(1, 30))
    step._head.weight = step._head.weight * 1.5  # as a model that scales its logits would have it
    with pytest.raises(TrainingError, match="does not know this architecture"):
        check_packing(step, model, sample(1, 30))


def test_an_untied_head_and_a_qwen_with_biases_are_known(tmp_path: Path) -> None:
    import json

    folder = tiny_model(tmp_path, tied=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_bias": True}))
    model, adapters = load(folder, packed=True)  # the biases, which the file lacks, are drawn at random
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(generator=torch.Generator().manual_seed(1))
    check_packing(AutogradStep(model, adapters, workers=1, threads=1), model, sample(1, 30))


def test_a_window_shorter_than_a_sample_is_refused() -> None:
    layout = attention.lay_out([(0, 10)], 0)
    heads = torch.zeros(1, 2, 10, 8)
    with pytest.raises(TrainingError, match="window of 4"):
        attention.packed_attention(
            torch.nn.Identity(), heads, heads, heads, None, layout=layout, sliding_window=4
        )


def test_a_rank_above_the_width_is_refused(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    with pytest.raises(TrainingError, match="rank 33 is above the width"):
        adapt(model, rank=33, scale=2.0, seed=0)


def test_adapters_go_where_they_are_told_to(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation=attention.register()).eval()
    adapters = adapt(model, rank=2, scale=2.0, seed=0, targets=("q_proj", "v_proj"))
    assert adapters.targets == ["q_proj", "v_proj"]
    assert len(adapters.layers) == 4
    step, choice = choose_step(model, adapters, sample(1, 30), 512, 1, 1)
    assert step.name == "autograd"
    assert choice.why == "only some of the layers have adapters"
    assert step.forward_backward([pack([sample(1, 30)])]).count == 5


def test_layers_that_the_model_does_not_have_are_refused_with_those_that_it_has(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    with pytest.raises(TrainingError, match="no linear layers called query, value") as raised:
        adapt(model, rank=2, scale=2.0, seed=0, targets=("query", "q_proj", "value"))
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj" in raised.value.try_


def test_rows_of_the_same_samples_are_the_same() -> None:
    first, second = row.pack(MIXES["several lengths"]), row.pack(MIXES["several lengths"])
    assert torch.equal(first.ids, second.ids)
    assert torch.equal(first.layout.back, second.layout.back)


def test_the_norm_of_millions_of_values_keeps_its_digits() -> None:
    gradient = torch.rand(5_000_003, generator=torch.Generator().manual_seed(0))
    exact = float(torch.linalg.vector_norm(gradient.double()))
    step: Any = SimpleNamespace(gradient=gradient)
    assert Workers.norm(step) == pytest.approx(exact, rel=2e-6)
