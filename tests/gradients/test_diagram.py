"""Pictures of the gradient sources, and the verb that lists and draws them."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest
from running import ROOT, run

from morpho.gradients.card import Card
from morpho.gradients.diagram import EDGE, FIXED_GLYPH, GLYPH, card_of, diagram
from morpho.gradients.registry import BUILT_IN, source_class
from morpho.gradients.supervisor import OWN

SVG = "{http://www.w3.org/2000/svg}"
LONG = Card(
    summary="a summary that is long enough to need more than one line " * 3,
    formula="g < 1 & " + "h > 2 + " * 20 + "'0'",
    inputs=("density", "something that takes some lines beside two others", "another"),
    steps=("a step", "a step that says more than would fit into one line of its box " * 2),
    learns="so much that it is higher than all of the steps, if they are few " * 8,
)
CARDS = {name: source_class(name).card for name in BUILT_IN} | {"own": OWN, "long": LONG}


def drawn(name):
    return ET.fromstring(diagram(name, CARDS[name]))


def texts(root):
    """Unwrapped."""
    return [" ".join(span.text for span in text) for text in root.iter(f"{SVG}text")]


def boxes(root):
    """(left, top, right, bottom) of every box, without the background and the frame around the steps."""
    found = []
    for rect in root.iter(f"{SVG}rect"):
        if rect.get("rx") == "5":
            x, y, width, height = (int(rect.get(key)) for key in ("x", "y", "width", "height"))
            found.append((x, y, x + width, y + height))
    return found


@pytest.mark.parametrize("name", CARDS)
def test_everything_on_the_card_is_in_the_picture(name):
    card, found = CARDS[name], texts(drawn(name))
    assert found[:3] == [f"gradient source: {name}", card.summary.strip(), card.formula]
    assert {*card.inputs, *(step.strip() for step in card.steps), "gradient", "optimizer"} <= set(found)
    assert any(f"learns: {card.learns}".strip() in said for said in found)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_source_has_a_card(name):
    card = card_of(name)
    assert isinstance(card, Card)
    assert card.summary and card.formula and card.inputs and card.steps and card.learns


def test_what_the_supervisor_does():
    asks = "supervisor: asks for an exact gradient in the first"
    assert f"{asks} 3 iterations and at corrections (to a loose tolerance), and in the last" in texts(drawn("secant"))
    assert f"{asks} 10 iterations, and in the last" in texts(drawn("inexact"))
    assert "no supervisor, every gradient is exact; learns: nothing" in texts(drawn("exact"))
    assert "exact solver" not in texts(drawn("exact"))


@pytest.mark.parametrize("name", CARDS)
def test_nothing_overlaps_or_sticks_out(name):
    root = drawn(name)
    width, height = int(root.get("width")), int(root.get("height"))
    found = boxes(root)
    for left, top, right, bottom in found:
        assert EDGE <= left < right <= width - EDGE and EDGE <= top < bottom <= height - EDGE
    for one, other in combinations(found, 2):
        apart = one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
        assert apart, (one, other)


@pytest.mark.parametrize("name", CARDS)
def test_lines_of_the_header_are_apart(name):
    found = [int(span.get("y")) for text in list(drawn(name).iter(f"{SVG}text"))[:3] for span in text]
    assert all(below - above >= 17 for above, below in pairwise([*found, boxes(drawn(name))[0][1] + 13]))


@pytest.mark.parametrize("name", CARDS)
def test_text_stays_in_its_box(name):
    root = drawn(name)
    found = boxes(root)
    width = int(root.get("width"))
    for text in root.iter(f"{SVG}text"):
        fixed = "monospace" in text.get("font-family", "")
        for span in text:
            x, y, size = int(span.get("x")), int(span.get("y")), len(span.text) * (FIXED_GLYPH if fixed else GLYPH)
            if text.get("text-anchor") != "middle":
                assert x + size <= width - EDGE
                continue
            left, right = x - size / 2, x + size / 2
            assert any(box[0] < left and right < box[2] and box[1] < y - 10 and y + 4 < box[3] for box in found)


@pytest.mark.parametrize("name", CARDS)
def test_arrows_end_at_boxes(name):
    root = drawn(name)
    edges = {edge for box in boxes(root) for edge in box}
    paths = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(paths) >= len(CARDS[name].inputs) + len(CARDS[name].steps) + 1
    for path in paths:
        x, y, to_x, to_y = map(int, re.findall(r"\d+", path))
        assert (x == to_x) != (y == to_y)
        assert (y if x == to_x else x) in edges or (to_y if x == to_x else to_x) in edges


def test_a_background_for_dark_pages():
    root = drawn("secant")
    first = next(root.iter(f"{SVG}rect"))
    assert [first.get(key) for key in ("width", "height", "fill")] == [root.get("width"), root.get("height"), "#ffffff"]


def test_pictures_of_the_documentation_are_those_of_now():
    folder = ROOT / "docs" / "images" / "sources"
    now = {f"{name}.svg": diagram(name, card_of(name)) for name in BUILT_IN}
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert there == now, "run scripts/env morpho sources --diagram all"


def test_verb_lists_the_sources(tmp_path):
    ended = run(1, "sources", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    lines = dict(line.split(maxsplit=1) for line in ended.stdout.splitlines())
    assert lines == {name: card_of(name).summary for name in BUILT_IN}


def test_verb_draws_one(tmp_path):
    ended = run(1, "sources", "--diagram", "secant", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "secant.svg\n"), ended.stderr
    assert (tmp_path / "secant.svg").read_text(encoding="utf-8") == diagram("secant", card_of("secant"))
    ended = run(1, "sources", "--diagram", "secant", "--output", "new/it.svg", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "new/it.svg\n"), ended.stderr
    assert (tmp_path / "new" / "it.svg").read_bytes() == (tmp_path / "secant.svg").read_bytes()


@pytest.mark.parametrize("output", [None, "pictures"])
def test_verb_draws_all(tmp_path, output):
    ended = run(1, "sources", "--diagram", "all", *(["--output", output] if output else []), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    paths = [f"{output or 'docs/images/sources'}/{name}.svg" for name in BUILT_IN]
    assert ended.stdout.splitlines() == paths
    assert all((tmp_path / path).read_text(encoding="utf-8").startswith("<svg") for path in paths)


def test_verb_on_two_ranks_says_it_once(tmp_path):
    ended = run(2, "sources", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.splitlines()) == len(BUILT_IN)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--diagram", "secand"], 2, "there is no source 'secand'; did you mean 'secant'?"),
        (["--diagram", "zzz"], 2, "there is no source 'zzz'; use one of exact"),
        (["--output", "a.svg"], 2, "--output goes with --diagram NAME"),
        (["--diagram", "secant", "--output", "/proc/none/a.svg"], 3, "Could not write /proc/none/a.svg"),
    ],
)
def test_verb_complains(tmp_path, arguments, status, said):
    ended = run(1, "sources", *arguments, cwd=tmp_path)
    assert ended.returncode == status
    assert said in ended.stderr and "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_verb_is_cheap(tmp_path):
    program = (
        "import atexit, sys; from morpho.cli import main; "
        "atexit.register(lambda: print(sorted({'dolfinx', 'petsc4py', 'torch'} & set(sys.modules)))); main()"
    )
    ended = run(1, "sources", "--diagram", "all", cwd=tmp_path, program=("-c", program))
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr
