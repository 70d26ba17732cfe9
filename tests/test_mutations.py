"""The tests of money see what they are for: with a rule taken out of the code, one of them fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What goes wrong -> the file, what stands there, what is put in its place, the tests that must see it.
MUTATIONS = {
    "an event's id need not be unique": (
        "records/tables/service.py",
        """    UniqueConstraint("source", "event_id"),
    CheckConstraint("kind IN ('usage', 'void', 'replace')"),
""",
        """    CheckConstraint("kind IN ('usage', 'void', 'replace')"),
""",
        "tests/serve/test_books.py",
    ),
    "a budget is taken from without looking": (
        "serve/statements.py",
        '.where(budget_window.c.spent + budget_window.c.held + bindparam("amount") <= bindparam("most"))',
        "",
        "tests/serve/test_books_machine.py",
    ),
    "what was read is written back later": (
        "serve/statements.py",
        'held=budget_window.c.held - bindparam("freed"), spent=budget_window.c.spent + bindparam("paid")',
        'held=0, spent=bindparam("paid")',
        "tests/serve/test_books_machine.py",
    ),
    "every event is rounded": (
        "bill/rating.py",
        "to_minor(amount, version.currency),\n            parts",
        "sum(n * to_minor(amount / quantity * q / n, version.currency) for q, n in found.values()),\n"
        "            parts",
        "tests/bill/test_rating.py",
    ),
    "money is a float, rounded up": (
        "bill/money.py",
        "    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)\n",
        "    whole = -int(-float(scaled) // 1)\n",
        "tests/bill",
    ),
    "months have no time zone": (
        "bill/period.py",
        "    zone = ZoneInfo(timezone)\n",
        "    zone = UTC\n",
        "tests/bill/test_period.py",
    ),
    "days have no time zone": (
        "serve/windows.py",
        "    zone = ZoneInfo(timezone)\n",
        '    zone = ZoneInfo("UTC")\n',
        "tests/serve/test_budgets.py",
    ),
}


def fails(package: Path, tests: str) -> bool:
    path = f"pythonpath={package} ."  # in the place of src
    command = ["pytest", "-x", "-m", "not soak", "-p", "no:cacheprovider", "-o", path, tests]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(package), "NO_SHRINK": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout[-2000:]
    return done.returncode == 1


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_taken_out_is_missed(name: str, tmp_path: Path) -> None:
    file, old, new, tests = MUTATIONS[name]
    shutil.copytree(ROOT / "src" / "modelyard", tmp_path / "modelyard")
    path = tmp_path / "modelyard" / file
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")
    assert fails(tmp_path, tests)
