import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.records.digest import canonical, digest

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), VALUES))
def test_the_order_of_keys_does_not_change_the_digest(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert digest("key", value) == digest("key", turned)


@given(VALUES)
def test_canonical_json_reads_back_as_what_was_written(value: object) -> None:
    assert json.loads(canonical(value)) == value


@given(VALUES)
def test_two_kinds_of_the_same_value_have_different_digests(value: object) -> None:
    assert digest("key", value) != digest("manifest", value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_digest(bad: float) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        digest("key", [bad])
