"""Values that others have published or computed; those of minutes are in scripts/check_references.py alone."""

import runpy
from pathlib import Path

import pytest

REFERENCES = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "check_references.py"))
QUICK = [row for rows in REFERENCES["SECTIONS"].values() for row in rows() if not row.slow]


@pytest.mark.parametrize("row", QUICK, ids=[row.name for row in QUICK])
def test_value(row):
    found = REFERENCES["compliances"](row.problem, list(row.values))
    assert found == pytest.approx(list(row.values.values()), rel=row.tolerance)
