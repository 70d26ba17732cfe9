"""Which verdict is released, and which screens are worth measuring in full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.release.stage import facts, share, unmeasured, verdict

from modelyard.records.shapes import Fact
from modelyard.release.again import SURE
from modelyard.release.choose import (
    EQUAL_COST,
    Verdict,
    cheaper,
    holds,
    is_enough,
    is_settled,
    outcomes,
    pick,
    queue,
    reference,
)
from modelyard.release.settings import Gate

GATES = {"quality.task": Gate(min=0.6)}


def test_the_cheapest_that_keeps_every_gate_wins() -> None:
    found = pick(
        [
            verdict("dear", found=facts(cost=0.03)),
            verdict("cheap", found=facts(cost=0.01)),
            verdict("cheapest but wrong", found=facts(cost=0.001, task=0.5)),
        ],
        GATES,
    )
    assert found.winner is not None
    assert found.winner.id == "cheap"
    assert {row.verdict.id: [j.gate for j in row.failed] for row in found.rows} == {
        "dear": [],
        "cheap": [],
        "cheapest but wrong": ["quality.task"],
    }


def test_of_equal_cost_the_better_wins() -> None:
    near = verdict("better", found=facts(cost=0.0102, task=0.95))
    far = verdict("best but dearer", found=facts(cost=0.0104, task=0.99))
    found = pick([verdict("cheapest", found=facts(cost=0.01, task=0.9)), near, far], GATES)
    assert found.winner == near
    assert "within 3%" in found.why


def test_without_pairs_equal_cost_goes_to_the_smaller_divergence() -> None:
    near = facts(task=None) | {"parity.kl": Fact(0.01, "nats/token")}
    found = pick(
        [verdict("a", has_pairs=False, found=facts(task=None)), verdict("b", has_pairs=False, found=near)], {}
    )
    assert found.winner is not None
    assert found.winner.id == "b"


def test_screens_are_never_released() -> None:
    found = pick([verdict(fidelity="screen"), verdict(fidelity="report", split="report")], {})
    assert found.winner is None
    assert found.rows == ()


def test_no_winner_when_a_gate_asks_for_what_was_not_measured() -> None:
    found = pick([verdict()], {"quality.grounded": Gate(min=0.1)})
    assert found.winner is None
    assert found.rows[0].failed[0].why.startswith("unmeasured")


def test_a_file_that_is_not_the_model_never_wins() -> None:
    wrong = facts(cost=0.0001) | {"parity.identity": Fact(1.0, "differences")}
    found = pick([verdict("wrong", found=wrong), verdict("right")], {})
    assert found.winner is not None
    assert found.winner.id == "right"


def test_what_has_no_cost_is_not_released() -> None:
    assert (
        pick([verdict(found=facts() | {"cost.usd_per_1k_answers": unmeasured("USD/1k answers")})], {}).winner
        is None
    )


def test_a_cheaper_one_that_would_hardly_hold_on_report_is_passed_over_and_says_so() -> None:
    lucky = verdict("lucky", candidate="c5", found=facts(cost=0.01, task=0.64))  # bound 0.61 of 0.6
    sure = verdict("sure", candidate="c8", kind="Q8_0", found=facts(cost=0.02, task=0.8))
    dear = verdict("dear", candidate="c16", kind="F16", found=facts(cost=0.03, task=0.64))
    found = pick([lucky, sure, dear], GATES)
    assert found.winner == sure
    assert "gguf Q4_0 on openvino is cheaper, but would hold on report with 68% only" in found.why
    assert "F16" not in found.why
    assert [(one.verdict.id, one.out) for one in outcomes([], GATES, found)] == [
        ("sure", ""),
        ("lucky", "too likely to fail on report"),
        ("dear", "dearer than the winner"),
    ]


def test_where_none_is_sure_to_hold_on_report_the_likeliest_is_released() -> None:
    cheap = verdict("cheap", found=facts(cost=0.01, task=0.631))
    likelier = verdict("likelier", found=facts(cost=0.02, task=0.645))
    found = pick([cheap, likelier], GATES)
    assert found.winner == likelier
    assert found.why.startswith("the likeliest of 2 to keep every gate on report, too, though only by 76%")


def test_a_search_goes_on_until_enough_hold_and_one_surely_on_report() -> None:
    lucky, other, sure = (
        verdict(f"{at}", found=facts(task=task)) for at, task in enumerate((0.64, 0.64, 0.8))
    )
    wrong = verdict("wrong", found=facts(task=0.5))
    assert not is_enough([lucky, other], GATES, 2)
    assert not is_enough([sure, wrong], GATES, 2)
    assert is_enough([lucky, sure], GATES, 2)


def test_what_did_not_race_because_another_gate_fails_is_not_told_to_be_slow() -> None:
    gates = GATES | {"latency.ttft_p95_s.c1": Gate(max=3)}
    late = {"latency.ttft_p95_s.c1": unmeasured("s", "speed is measured in the race of the finalists")}
    wrong, fell = (
        verdict("wrong", found=facts(task=0.5) | late),
        verdict("fell in the race", found=facts() | late),
    )
    found = pick([wrong, fell], gates)
    assert found.winner is None
    assert {row.verdict.id: [one.gate for one in row.failed] for row in found.rows} == {
        "wrong": ["quality.task"],
        "fell in the race": ["latency.ttft_p95_s.c1"],
    }


VERDICTS = st.lists(
    st.builds(
        lambda id, cost, task, fault: verdict(
            f"v{id}", found=facts(cost=cost, task=task) | {"parity.fault": Fact(fault, "nats")}
        ),
        st.integers(0, 10**6),
        st.floats(0.001, 1),
        st.floats(0, 1),
        st.sampled_from([0.01, 0.5]),
    ),
    max_size=6,
    unique_by=lambda v: v.id,
)


@given(VERDICTS, st.randoms())
def test_the_winner_keeps_every_gate_is_nearly_the_cheapest_and_no_order_matters(
    verdicts: list[Verdict], chance: object
) -> None:
    found = pick(verdicts, GATES)
    held = [row.verdict for row in found.rows if not row.failed]
    assert (found.winner is None) == (not held)
    if found.winner is not None:
        assert found.winner in held
        sure = [row.verdict for row in found.rows if not row.failed and row.chance >= SURE] or [found.winner]
        least = min(v.number("cost.usd_per_1k_answers", 0) for v in sure)
        assert found.winner.number("cost.usd_per_1k_answers", 0) <= least * EQUAL_COST
    shuffled = list(verdicts)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pick(shuffled, GATES) == found


def screen(id: str, cost: float, task: float, **more: str) -> Verdict:
    """A screen with a wide interval."""
    found = facts(cost=cost, task=task) | {"quality.task": share(task, 0.1)}
    return verdict(id, fidelity="screen", found=found, **more)  # type: ignore[arg-type]


def test_the_cheaper_half_of_what_fails_no_gate_for_certain_is_asked_and_four_at_least() -> None:
    screens = [screen(f"at {cost}", cost / 100, 0.8) for cost in (5, 3, 9, 1, 7, 2, 8, 4, 6)]
    wrong = verdict("wrong", fidelity="screen", found=facts(cost=0.001) | {"parity.fault": Fact(2.0, "nats")})
    assert [v.id for v in cheaper([*screens, wrong], GATES)] == ["at 1", "at 2", "at 3", "at 4", "at 5"]
    assert [v.id for v in cheaper(screens[:5], GATES)] == ["at 1", "at 3", "at 5", "at 7"]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.1, 0.5, 0.7, 0.9])), max_size=12),
    st.integers(1, 4),
)
def test_once_the_queue_is_settled_what_dearer_ones_answer_does_not_change_its_head(
    answered: list[tuple[int, float]], count: int
) -> None:
    every = [
        screen(f"{at}", 0.01 * (at + 1), task, candidate=f"file {file}")
        for at, (file, task) in enumerate(answered)
    ]
    for asked in range(len(every)):
        if is_settled(every[:asked], GATES, count):
            assert queue(every[:asked], GATES)[:count] == queue(every, GATES)[:count]
    whole = [v for v in every if v.number("quality.task", 0) == 0.9]
    assert is_settled(whole, GATES, count) == (len({v.candidate for v in whole}) >= count)


def test_a_full_verdict_holds_when_all_but_the_races_gates_are_kept() -> None:
    gates = GATES | {"latency.ttft_p95_s.c1": Gate(max=3), "cost.usd_per_1k_answers": Gate(max=1)}
    unraced = facts() | {name: Fact(None, "s", why="not yet") for name in gates if name not in GATES}
    assert holds(verdict("a", found=unraced), gates)
    assert not holds(verdict("b", found=facts(task=0.5)), gates)
    assert not holds(verdict("c", found=facts() | {"parity.fault": Fact(2.0, "nats")}), gates)
    assert not holds(verdict("d", found=unraced | {"quality.task": unmeasured()}), gates)


def test_the_cheapest_of_different_files_that_are_likely_to_hold_come_first() -> None:
    screens = [
        screen("q4 openvino", 0.010, 0.80),
        screen("q4 llamacpp", 0.012, 0.80, engine="llamacpp"),
        screen("q8 openvino", 0.015, 0.82, candidate="c8", kind="Q8_0"),
        screen("f16 openvino", 0.030, 0.83, candidate="c16", kind="F16"),
    ]
    assert [v.id for v in queue(screens, GATES)] == [
        "q4 openvino",
        "q8 openvino",
        "f16 openvino",
        "q4 llamacpp",
    ]


def test_what_loses_much_on_the_few_questions_it_was_asked_waits_behind_what_does_not() -> None:
    pruned, whole = screen("pruned", 0.01, 0.8), screen("whole", 0.02, 0.8, candidate="c8")
    lost = {"pruned": 0.12, "whole": 0.04}
    for v in (pruned, whole):
        v.facts["loss.task"] = share(lost[v.id], 0.1)  # type: ignore[index]
    assert [v.id for v in queue([pruned, whole], {"quality.task": Gate(max_loss=0.08)})] == [
        "whole",
        "pruned",
    ]


def test_the_queue_leaves_out_what_fails_for_certain_and_puts_last_what_is_unlikely() -> None:
    screens = [
        screen("hopeless", 0.010, 0.40),
        screen("unlikely", 0.011, 0.55, candidate="c8"),
        screen("likely", 0.020, 0.70, candidate="c16"),
    ]
    assert [v.id for v in queue(screens, GATES)] == ["likely", "unlikely"]


def test_who_waits_passed_identity_fault_and_latency_at_the_screen() -> None:
    slow = verdict("slow", fidelity="screen", found=facts() | {"latency.ttft_p95_s.c1": Fact(9.0, "s")})
    wrong = verdict("wrong", fidelity="screen", found=facts() | {"parity.fault": Fact(2.0, "nats")})
    assert queue([slow, wrong], {"latency.ttft_p95_s.c1": Gate(max=3)}) == []


def test_one_file_may_be_measured_on_two_engines_when_there_is_no_other() -> None:
    screens = [screen("a", 0.01, 0.8), screen("b", 0.02, 0.8, engine="llamacpp")]
    assert [v.id for v in queue(screens, GATES)] == ["a", "b"]


def test_the_reference_is_the_unquantised_file_on_its_cheapest_engine_without_a_fault() -> None:
    broken = facts(cost=0.001) | {"parity.fault": Fact(2.0, "nats")}
    screens = [
        verdict("q8", kind="Q8_0", fidelity="screen", found=facts(cost=0.001)),
        verdict("a", kind="F16", fidelity="screen", found=broken),
        verdict("b", kind="F16", fidelity="screen", found=facts(cost=0.03)),
        verdict("c", kind="F16", fidelity="screen", found=facts(cost=0.02)),
    ]
    found = reference(screens)
    assert found is not None
    assert found.id == "c"
    assert reference(screens[:2]) is None
