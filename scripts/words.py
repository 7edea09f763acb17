"""Count words and sentences of the docs: scripts/env python3 scripts/words.py [PAGE...]

Prints for each page its words, the words of its longest sentence, and the median. Ends with status 1 when a page
has 2,000 words or more, a median above 18, or a sentence of more than 30 words. Made pages (tables of docs/bench,
the reference of keys, the gallery) may be longer, their sentences may not. Code blocks do not count at all; tables
and link targets are no sentences.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
WORDS, MEDIAN, LONGEST = 2000, 18, 30  #: a page has fewer words; sentences have at most so many
MADE = ("docs/bench/", "docs/keys.md", "docs/gallery/")  #: pages that may be longer

FENCED = re.compile(r"^```.*?^```[^\n]*$", re.M | re.S)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}[^\n]*\n+)+")
INLINE = re.compile(r"`[^`]+`")
IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
ABBREVIATED = re.compile(r"\b(e\.g|i\.e|et al|vs|cf|Fig|Eq|approx|no)\. ")
ENDED = re.compile(r"(?<=[.!?])[*)\"]*\s+")
ITEM = re.compile(r"^\s*(?:[-*]|\d+\.)\s+", re.M)
WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Page:
    """What is counted of one page."""

    name: str
    words: int
    sentences: list[str]

    @property
    def lengths(self) -> list[int]:
        return [count(sentence) for sentence in self.sentences] or [0]

    @property
    def longest(self) -> str:
        return max(self.sentences, key=count, default="")

    @property
    def complaints(self) -> list[str]:
        """What is too long, empty if nothing is."""
        said = []
        if self.words >= WORDS and not self.name.startswith(MADE):
            said.append(f"{self.name}: {self.words} words; a page has fewer than {WORDS}")
        if median(self.lengths) > MEDIAN:
            said.append(
                f"{self.name}: the median sentence has {median(self.lengths):g} words, at most {MEDIAN} are right"
            )
        said += [f"{self.name}: {count(s)} words in: {s}" for s in self.sentences if count(s) > LONGEST]
        return said


def count(text: str) -> int:
    """Words of a text; signs alone are none."""
    return sum(bool(WORD.search(part)) for part in text.split())


def read(path: Path) -> Page:
    """A page of Markdown."""
    text = path.read_text(encoding="utf-8")
    text = INDENTED.sub("\n", FENCED.sub("", text))
    text = LINK.sub(r"\1", IMAGE.sub("", text))
    return Page(str(path.relative_to(ROOT)), count(text.replace("|", " ")), sentences(text))


def sentences(text: str) -> list[str]:
    """The sentences of a page: of its paragraphs and items, without headings and tables."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", ">"))]
    found = []
    for block in re.split(r"\n\s*\n", ITEM.sub("\n\n", "\n".join(kept))):
        flat = INLINE.sub(lambda code: code[0].replace(".", "\u00b7"), " ".join(block.split()))
        flat = ABBREVIATED.sub(lambda short: short[0].replace(".", "\u00b7"), flat)
        found += [part for part in ENDED.split(flat) if count(part)]
    return [part.replace("\u00b7", ".") for part in found]


def pages() -> list[Path]:
    """Every page of the docs."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    read_pages = [read(path.resolve()) for path in parser.parse_args().pages or pages()]
    print(f"{'page':<36} words longest median")
    for page in read_pages:
        print(f"{page.name:<36} {page.words:5} {max(page.lengths):7} {median(page.lengths):6g}")
    complaints = [said for page in read_pages for said in page.complaints]
    print("\n".join(complaints), file=sys.stderr)
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
