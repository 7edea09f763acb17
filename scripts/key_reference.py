"""Write docs/keys.md and docs/problem.schema.json from the models: scripts/env python3 scripts/key_reference.py

With --check nothing is written, and the exit status is 1 where one of them is not up to date.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from morpho.problem.schema import reference, schema

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    texts = {"keys.md": reference(), "problem.schema.json": json.dumps(schema(), indent=1) + "\n"}
    old = [name for name, text in texts.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != text]
    for name in old:
        print(f"docs/{name} is not up to date" if check else f"docs/{name}")
        if not check:
            (DOCS / name).write_text(texts[name])
    return int(check and bool(old))


if __name__ == "__main__":
    raise SystemExit(main())
