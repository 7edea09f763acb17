"""Pictures of the gradient sources, and the verb that lists and draws them."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

from mpi4py import MPI

import pytest
from running import ROOT, run
from two_scale_problems import cantilever

from morpho.gradients.architectures import ARCHITECTURES, Layer, parameters
from morpho.gradients.card import Card
from morpho.gradients.diagram import all_diagrams, card_of, diagram
from morpho.gradients.registry import BUILT_IN, source_class
from morpho.gradients.shapes import EDGE, FIXED_GLYPH, GLYPH
from morpho.gradients.supervisor import OWN
from morpho.parts import Parts

SVG = "{http://www.w3.org/2000/svg}"
LONG = Card(
    summary="a summary that is long enough to need more than one line " * 3,
    formula="g < 1 & " + "h > 2 + " * 20 + "'0'",
    inputs=("density", "something that takes some lines beside two others", "another"),
    steps=("a step", "a step that says more than would fit into one line of its box " * 2),
    learns="so much that it is higher than all of the steps, if they are few " * 8,
    networks={"deep": (Layer(3, 70), *[Layer(70, 70, (3, 3), residual=True)] * 3, Layer(70, 2, activation=""))},
)
CARDS = {name: source_class(name).card for name in BUILT_IN} | {"own": OWN, "long": LONG}
#: name of a source -> the network that it is drawn with; NAME:NETWORK for those that are not its first
DRAWN = {name: next(iter(card.networks), "") for name, card in CARDS.items()}
DRAWN |= {f"{name}:{other}": other for name, card in CARDS.items() for other in list(card.networks)[1:]}
NETWORKS = [name for name, network in DRAWN.items() if network]


def drawn(name):
    source, _, network = name.partition(":")
    return ET.fromstring(diagram(source, CARDS[source], network))


def layers_of(name):
    return CARDS[name.partition(":")[0]].networks[DRAWN[name]]


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
    assert f"{asks} 3 iterations and at updates in between (to a loose tolerance), and in the last" in texts(
        drawn("secant")
    )
    assert f"{asks} 10 iterations, and in the last" in texts(drawn("inexact"))
    assert "no supervisor, every gradient is exact; learns: nothing" in texts(drawn("exact"))
    assert "exact solver" not in texts(drawn("exact"))


@pytest.mark.parametrize("name", DRAWN)
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


@pytest.mark.parametrize("name", DRAWN)
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


@pytest.mark.parametrize("name", DRAWN)
def test_arrows_end_at_boxes(name):
    root, card = drawn(name), CARDS[name.partition(":")[0]]
    edges = {edge for box in boxes(root) for edge in box}
    paths = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("marker-end")]
    assert len(paths) >= len(card.inputs) + len(card.steps) + 1
    for path in paths:
        numbers = list(map(int, re.findall(r"\d+", path)))
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        assert all((x == to_x) != (y == to_y) for (x, y), (to_x, to_y) in pairwise(points))
        (x, y), (to_x, to_y) = points[:2]
        assert (y if x == to_x else x) in edges or (to_y if x == to_x else to_x) in edges
        if len(points) > 2:
            assert points[-1][0] in edges


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_drawn_layer_by_layer(name):
    root, network, said = drawn(name), layers_of(name), texts(drawn(name))
    title = f"network {DRAWN[name]}: {parameters(network):,} parameters, the same for all cells"
    inside = said[said.index("optimizer") :]
    assert title in said
    for layer in set(network):
        shown = f"{layer.kind}, {layer.inputs} to {layer.outputs}{' channels' if layer.window else ''}, "
        shown += f"{layer.parameters:,} parameters"
        found = [text for text in inside if text.startswith(shown)]
        assert len(found) == network.count(layer)
        end = f"; a(z) = {layer.activation}" if layer.activation else "parameters"
        assert all(text.endswith(end) for text in found)
    links = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("d").count("L") == 3]
    assert len([path for path in links if "Z" not in path]) == said.count("+") == sum(one.residual for one in network)


@pytest.mark.parametrize("name", [name for name in BUILT_IN if CARDS[name].networks])
def test_network_on_the_card_is_the_one_of_the_source(name):
    with Parts(cantilever(name, 2), MPI.COMM_SELF) as parts:
        shapes = [tuple(p.shape) for p in parts.source.network.adam.parameters]
    made = [shape for one in layers_of(name) for shape in [(one.outputs, one.inputs), (one.outputs,)][: 1 + one.bias]]
    assert shapes == made


@pytest.mark.parametrize("name", NETWORKS)
def test_links_do_not_cross_boxes_or_other_links(name):
    root = drawn(name)
    found, ways = boxes(root), []
    for path in root.iter(f"{SVG}path"):
        numbers = list(map(int, re.findall(r"\d+", path.get("d"))))
        if path.get("marker-end") and len(numbers) == 8:
            ways.append((numbers[2], *sorted((numbers[3], numbers[5]))))
    for side, top, bottom in ways:
        assert not any(left <= side <= right and top < y_end and y < bottom for left, y, right, y_end in found)
    for (side, top, bottom), (other, other_top, other_bottom) in combinations(ways, 2):
        assert side != other or bottom <= other_top or other_bottom <= top


def test_every_network_of_onsg_has_a_picture():
    stems = {"onsg", *(f"onsg_{other}" for other in ARCHITECTURES[1:])}
    assert stems <= set(all_diagrams())
    assert len({drawing for stem, drawing in all_diagrams().items() if stem in stems}) == len(ARCHITECTURES)


def test_a_background_for_dark_pages():
    root = drawn("secant")
    first = next(root.iter(f"{SVG}rect"))
    assert [first.get(key) for key in ("width", "height", "fill")] == [root.get("width"), root.get("height"), "#ffffff"]


def test_pictures_of_the_documentation_are_those_of_now():
    folder = ROOT / "docs" / "images" / "sources"
    now = {f"{stem}.svg": drawing for stem, drawing in all_diagrams().items()}
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
    ended = run(1, "sources", "--diagram", "onsg:conv", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "onsg_conv.svg\n"), ended.stderr
    assert (tmp_path / "onsg_conv.svg").read_text(encoding="utf-8") == diagram("onsg", card_of("onsg"), "conv")
    ended = run(1, "sources", "--diagram", "secant", "--output", "new/it.svg", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "new/it.svg\n"), ended.stderr
    assert (tmp_path / "new" / "it.svg").read_bytes() == (tmp_path / "secant.svg").read_bytes()


@pytest.mark.parametrize("output", [None, "pictures"])
def test_verb_draws_all(tmp_path, output):
    ended = run(1, "sources", "--diagram", "all", *(["--output", output] if output else []), cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    paths = [f"{output or 'docs/images/sources'}/{stem}.svg" for stem in all_diagrams()]
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
        (["--diagram", "onsg:cnn"], 2, "onsg has no network 'cnn'; its networks are mlp, residual, conv"),
        (["--diagram", "secant:mlp"], 2, "secant has no network 'mlp'; the picture of it shows none"),
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
