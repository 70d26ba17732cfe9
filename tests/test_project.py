import contextlib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import ProjectError
from modelyard.project import find, load, schema

SOURCE = "{path: docs, licence: CC-BY-4.0, owner: Example Ltd, basis: licence}"
WHOLE = f"""version: 1
name: desk
data:
  sources:
    - {SOURCE}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "modelyard.yaml"
    path.write_text(text, "utf-8")
    return path


def mistakes(folder: Path, text: str) -> str:
    with pytest.raises(ProjectError) as error:
        load(write(folder, text))
    assert error.value.exit_code == 2
    return error.value.what


def test_a_small_project_has_defaults_for_every_other_block(tmp_path: Path) -> None:
    project = load(write(tmp_path, WHOLE))
    assert project.data.sources[0].owner == "Example Ltd"
    assert project.train.budget.minutes == 6
    assert project.ground is None


def test_all_mistakes_are_told_at_once_with_line_and_suggestion(tmp_path: Path) -> None:
    text = WHOLE.replace("name: desk", "nam: desk") + "train:\n  budget: {minutes: -1}\n  learning_rat: 0.1\n"
    told = mistakes(tmp_path, text)
    assert told.startswith("4 mistakes")
    assert "line 2: nam is no setting; did you mean name?" in told
    assert "name is missing (Name of the project" in told
    assert "line 7: train.budget.minutes should be greater than 0, got" in told
    assert "line 8: train.learning_rat is no setting; did you mean learning_rate?" in told


def test_a_source_without_licence_is_told_which_and_what_that_is(tmp_path: Path) -> None:
    told = mistakes(tmp_path, WHOLE.replace("licence: CC-BY-4.0, ", ""))
    assert "line 5: data.sources[0].licence is missing (SPDX identifier" in told


def test_a_setting_that_stands_twice_is_a_mistake(tmp_path: Path) -> None:
    assert "line 6: name stands twice" in mistakes(tmp_path, WHOLE + "name: other\n")


def test_minutes_and_tokens_together_are_a_mistake(tmp_path: Path) -> None:
    assert "one of the three" in mistakes(tmp_path, WHOLE + "train: {budget: {minutes: 1, tokens: 5}}\n")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_a_file_that_is_no_mapping_is_told(tmp_path: Path, text: str) -> None:
    assert "empty or no mapping" in mistakes(tmp_path, text)


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="not YAML") as error:
        load(write(tmp_path, "version: 1\nname: [a\n"))
    assert error.value.where.startswith("modelyard.yaml:")


@pytest.mark.parametrize(
    "tail", ["a: &a [*a]\n", "seed: 2020-99-99\n", "name: !!python/object:os.system x\n"]
)
def test_odd_yaml_is_a_clear_error(tmp_path: Path, tail: str) -> None:
    with pytest.raises(ProjectError):
        load(write(tmp_path, WHOLE + tail))


def test_money_is_read_exactly(tmp_path: Path) -> None:
    project = load(write(tmp_path, WHOLE + "machine: {usd_per_hour: 0.1}\n"))
    assert project.machine.usd_per_hour is not None
    assert project.machine.usd_per_hour + Decimal("0.2") == Decimal("0.3")


@given(st.text(max_size=200))
def test_any_text_is_a_project_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("p") / "modelyard.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(ProjectError):
        load(path)


def test_the_project_file_is_found_from_a_folder_below(tmp_path: Path) -> None:
    write(tmp_path, WHOLE)
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find(tmp_path / "a" / "b") == tmp_path / "modelyard.yaml"


def test_a_folder_without_project_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="modelyard init"):
        find(tmp_path)


def test_the_schema_describes_every_setting() -> None:
    def undescribed(node: object, at: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        missing = []
        for name, field in node.get("properties", {}).items():
            if "description" not in field and "$ref" not in field and name != "seed":
                missing.append(f"{at}.{name}")
        for name, child in node.get("$defs", {}).items():
            missing += undescribed(child, name)
        return missing

    assert undescribed(schema(), "Project") == []
