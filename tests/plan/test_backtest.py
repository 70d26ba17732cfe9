"""Predictions of published runs: from technical inputs alone, never from a row's own kin, with intervals."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.cli.main import modelyard
from modelyard.errors import SourceError
from modelyard.plan import backtest, cases, utilisation
from modelyard.plan.backtest import SHARE, crps, known_family, predict, score
from modelyard.plan.cases import RATES, RUNS, Case, published, read
from modelyard.plan.utilisation import Fit, Utilisation

PLACE = Path(cases.__file__).parent / "cases"
LARGE = Case(*("pretrain", 7e9, 7e9, 1e12, 4096.0, None, None, "H100", 64.0, "bf16", "FSDP", None, 2025.0))
TABLES = pytest.mark.parametrize("table", [RUNS, RATES])
# What a blinded table hides; all else is technical.
HIDDEN = ("org", "source", "confidence", "MFU", "HFU", "Throughput (T/s/GPU)", "section")


@pytest.fixture(scope="module")
def all_rows() -> list[backtest.Row]:
    return [predict(case) for case in published()]


def run(path: Path, *options: str) -> tuple[int, dict[str, object]]:
    done = CliRunner().invoke(modelyard, ["plan", "--backtest", str(path), "--json", *options])
    told: dict[str, object] = json.loads(done.output.splitlines()[-1])
    return done.exit_code, told


def rewritten(table: str, change: Callable[[int, dict[str, str]], dict[str, str]], place: Path) -> Path:
    """The packaged table with every row changed."""
    with (PLACE / table).open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        rows = [change(at, row) for at, row in enumerate(reader)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path = place / table
    path.write_text(text.getvalue(), "utf-8")
    return path


@TABLES
def test_what_was_reported_and_who_ran_it_change_no_prediction(table: str, tmp_path: Path) -> None:
    def blind(at: int, row: dict[str, str]) -> dict[str, str]:
        name = "name" if table == RUNS else "Model"
        hidden = {key: "" for key in row if key.startswith("reported") or key in HIDDEN}
        return row | hidden | {name: f"row {at % 3}"}

    seen, blinded = (run(path)[1] for path in (PLACE / table, rewritten(table, blind, tmp_path)))
    rows, without = (told["result"]["rows"] for told in (seen, blinded))  # type: ignore[index]
    assert [row | {"name": ""} for row in rows] == [row | {"name": ""} for row in without]
    assert [row["name"] for row in without] == [f"row {at % 3}" for at in range(len(rows))]
    assert seen["result"]["score"]
    assert blinded["result"]["score"] is None


@TABLES
def test_one_row_comes_out_for_each_that_goes_in(table: str) -> None:
    code, told = run(PLACE / table)
    rows = told["result"]["rows"]  # type: ignore[index]
    assert code == 0
    assert [row["name"] for row in rows] == [case.name for case in read(PLACE / table)]
    for row in rows:
        for name, short in (("gpu_hours", "gpu_hours"), ("tokens_per_s_per_device", "tokens_per_s")):
            value, low, high = row[name], row[f"{short}_low"], row[f"{short}_high"]
            assert (value is None) == (low is None) == (high is None)
            assert value is None or 0 < low < value < high < math.inf
        assert row["gpu_hours"] is not None or row["why"]


def test_each_family_is_predicted_better_than_by_one_utilisation_a_device(
    all_rows: list[backtest.Row],
) -> None:
    """The figures of the room, each family predicted from all others: docs/plan.md tells them."""
    found = score(published(), all_rows)
    assert found is not None
    assert found.rows > 240
    assert found.median_factor < 1.25
    assert found.within_1_5 >= 0.9
    assert found.gain_interval is not None
    assert found.gain_interval[0] > 0
    # Two-sided binomial test at 5%, by its normal approximation.
    assert abs(found.coverage - SHARE) < 1.96 * math.sqrt(SHARE * (1 - SHARE) / found.rows)


def test_whole_runs_alone_are_predicted_better_too(all_rows: list[backtest.Row]) -> None:
    whole = [at for at, case in enumerate(published()) if case.tokens and utilisation.is_sure(case)]
    found = score([published()[at] for at in whole], [all_rows[at] for at in whole])
    assert found is not None
    assert found.median_factor < min(1.25, found.baseline_median_factor)
    assert found.within_1_5 >= 0.9
    assert found.gain_interval is not None
    assert found.gain_interval[0] > 0
    assert abs(found.coverage - SHARE) < 1.96 * math.sqrt(SHARE * (1 - SHARE) / found.rows)


def test_a_row_is_never_predicted_from_itself_or_its_kin() -> None:
    case = next(one for one in published() if one.name == "Llama-2-13B")
    family = known_family(case)
    others = Fit([one for one in published() if one.family != family])
    assert predict(case).utilisation == others.predict(case) != Fit(published()).predict(case)


@TABLES
def test_a_packaged_table_is_predicted_as_if_its_families_were_unknown(table: str) -> None:
    """Told by its technical inputs alone, as a file of the user's own would be."""
    for case in read(PLACE / table):
        family = known_family(replace(case, name="", organisation=""))
        assert family is not None
        assert predict(case).utilisation == utilisation.without(family).predict(case)


def test_a_new_row_of_a_known_code_learns_from_its_rows() -> None:
    known = next(one for one in read(PLACE / RATES) if one.devices == 8)
    new = replace(known, devices=24.0)
    assert known_family(new) is None
    by_kin, by_others = predict(new).utilisation, utilisation.without("mosaicml").predict(new)
    assert by_kin is not None
    assert by_others is not None
    assert by_kin.sd < 0.7 * by_others.sd


def test_a_whole_run_reaches_on_one_node_what_was_measured_and_on_many_less() -> None:
    def reached(devices: float, tokens: float | None) -> float:
        found = predict(replace(LARGE, devices=devices, tokens=tokens, parallelism="")).utilisation
        assert found is not None
        return found.share()

    assert reached(8, 1e12) == pytest.approx(reached(8, None))
    falls = [reached(devices, 1e12) / reached(devices, None) for devices in (8, 32, 128, 1024)]
    assert falls[0] > falls[1] > falls[2] == pytest.approx(falls[3])
    assert falls[3] < 0.9


def test_layers_computed_again_cost_speed() -> None:
    again = predict(replace(LARGE, parallelism="FSDP + activation checkpointing"))
    assert again.gpu_hours
    assert (kept := predict(LARGE).gpu_hours)
    assert 1.03 < again.gpu_hours.value / kept.value < 4 / 3
    none = predict(replace(LARGE, parallelism="FSDP, no activation checkpointing")).gpu_hours
    assert none == kept


def test_a_run_with_more_tokens_takes_longer_by_just_as_much() -> None:
    once, twice = predict(LARGE), predict(replace(LARGE, tokens=2e12))
    assert once.gpu_hours
    assert twice.gpu_hours
    assert once.cost_usd
    assert twice.cost_usd
    assert twice.gpu_hours.value == pytest.approx(2 * once.gpu_hours.value)
    assert twice.cost_usd == pytest.approx(2 * once.cost_usd)
    # The rate is the hours, told otherwise.
    assert once.tokens_per_s is not None
    assert once.gpu_hours.low * once.tokens_per_s.high * 3600 == pytest.approx(1e12)


# The first text that is drawn loads the tables of all characters: seconds on a busy machine.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "params_total",
                "params_active",
                "tokens",
                "seq_len",
                "batch_tokens",
                "hardware",
                "devices",
                "precision",
                "parallelism",
                "kind",
                "year",
                "reported_gpu_hours",
                "reported_days",
            ]
        ),
        st.one_of(
            st.text(max_size=12),
            st.floats().map(str),
            st.sampled_from(
                ["H100", "A100-40GB", "TP8 PP4", "TP0", "nf4", "lora", "1e9", "-1", "0", "nan", "1e400"]
            ),
        ),
    )
)
def test_whatever_a_row_holds_it_is_predicted_or_says_why_not(row: dict[str, str]) -> None:
    found = predict(cases.case(row))
    if found.tokens_per_s is None:
        assert found.why
    else:
        assert 0 < found.tokens_per_s.low < found.tokens_per_s.value < found.tokens_per_s.high
    assert found.gpu_hours is None or found.gpu_hours.value > 0


def test_a_row_without_hardware_or_size_says_so_and_the_others_are_predicted(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "name,kind,params_total,tokens,hardware,devices,precision\n"
        "a,pretrain,7e9,1e12,H100,64,bf16\n"
        "b,pretrain,7e9,1e12,abacus,64,bf16\n"
        "c,pretrain,,1e12,H100,64,bf16\n"
        "a,lora,7e9,,H100,1,nf4\n",
        "utf-8",
    )
    code, told = run(path)
    first, second, third, fourth = told["result"]["rows"]  # type: ignore[index]
    assert code == 0
    assert first["gpu_hours"] > 0
    assert first["cost_usd"] > 0
    assert second["gpu_hours"] is None
    assert "abacus" in second["why"]
    assert third["gpu_hours"] is None
    assert "parameters" in third["why"]
    assert fourth["gpu_hours"] is None
    assert fourth["tokens_per_s_per_device"] > 0
    assert "tokens" in fourth["why"]


def test_numbers_are_read_as_people_write_them() -> None:
    told = {"hardware": "H100", "devices": "64", "precision": "bf16"}
    written = [("7e9", "1e12"), ("7B", "1T"), ("7,000,000,000", "1000b"), ("7_000_000_000.", "1.0E12")]
    first, *others = (cases.case(told | {"params_total": size, "tokens": tokens}) for size, tokens in written)
    assert all(one.technical == first.technical for one in others)
    assert cases.case(told | {"params_total": "about 7B"}).total is None


def test_what_a_row_says_and_nobody_knows_is_said() -> None:
    row = {
        "hardware": "H100",
        "devices": "8",
        "params_total": "7B",
        "params_active": "9B",
        "precision": "int3",
    }
    why = predict(cases.case(row)).why
    assert "nothing is known of 'int3': 16 bits assumed" in why
    assert "more parameters meet a token than there are" in why


def test_the_table_names_the_rows_that_nobody_can_predict(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("name,params_total,hardware,devices,precision\na,7e9,H100,8,bf16\nb,7e9,abacus,8,bf16\n")
    said = CliRunner().invoke(modelyard, ["plan", "--backtest", str(path)]).output
    assert "- b: no device of the catalogue is called 'abacus'" in said
    assert "- a:" not in said


def test_one_reported_row_is_scored_without_an_interval(tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text(
        "name,params_total,tokens,hardware,devices,precision,reported_gpu_hours\n"
        "a,7e9,1e12,H100,64,bf16,40000\n",
        "utf-8",
    )
    code, told = run(path)
    score = told["result"]["score"]  # type: ignore[index]
    assert code == 0
    assert score["rows"] == 1
    assert score["crps_gain"]["low"] is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "lacks"),
        (b"a,b\n1,2\n", "hardware, devices, precision"),
        (b"\xff\xfe\x00name", "cannot be read"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=says):
        read(path)
    assert run(path)[0] == 1
    assert run(tmp_path / "none.csv")[0] == 1


def test_the_score_of_a_forecast_is_its_squared_distance_to_what_came() -> None:
    """CRPS by its definition: the integral of (F(x) - [x >= true])^2."""
    found, true = Utilisation(-1.0, 0.3), -0.7
    normal = NormalDist(found.log, found.sd)
    step = 1e-4
    points = [-4 + step * at for at in range(60_000)]
    area = sum((normal.cdf(x) - (x >= true)) ** 2 for x in points) * step
    assert crps(found, true) == pytest.approx(area, rel=1e-3)
