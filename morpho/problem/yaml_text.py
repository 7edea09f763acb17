"""YAML text to plain data: within limits, without tags, every complaint with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from morpho.errors import InputError
from morpho.problem.numbers import plain_value

BYTES = 4_000_000  #: of a problem file
VALUES = 200_000  #: of a problem file, each counted as often as aliases repeat it
DEPTH = 50  #: of lists and mappings in each other

#: The parser written in C where it is installed; the other one explains better.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_EXPLAINED = 100_000  #: characters of a text that is read again to explain what is wrong with it

_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass
class Document:
    """What stands in a YAML text."""

    data: Any
    node: yaml.Node | None  #: the same with lines
    complaints: list[str] = field(default_factory=list)  #: `:line: what is wrong`


def decode(content: bytes) -> str:
    """The text of a file.

    Raises:
        InputError: `:line: what is wrong`.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(": is UTF-16 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        if b"\0" in content:
            raise InputError(": is not a text file; expected YAML") from None
        raise InputError(f":{line}: is not a text file in UTF-8; save it as UTF-8") from None


def read_yaml(text: str) -> Document:
    """The data of a YAML text.

    Raises:
        InputError: `:line: what is wrong` where it cannot be read at all.
    """
    if match := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, match.start()) + 1
        raise InputError(f":{line}: is not YAML: the character {match[0]!r} cannot be shown; delete it")
    try:
        complaints = _measure(text)
        node = yaml.compose(text, Loader=_Parser)
    except yaml.YAMLError as error:
        raise InputError(_explained(error, text)) from None
    document = Document(None, node, complaints)
    if node is not None:
        document.data = _Reader(document.complaints).value(node)
    return document


def _measure(text: str) -> list[str]:
    """Refuse, without building it, what would take too long or too deep a recursion to build; complaints about tags."""
    tagged = []
    sizes: dict[str, tuple[int, int]] = {}  # of what has an anchor, with everything in it: values, depth
    opened: list[tuple[str | None, int, int]] = []
    for event in yaml.parse(text, Loader=_Parser):
        line = event.start_mark.line + 1
        if tag := getattr(event, "tag", None):
            name = _short(tag.replace("tag:yaml.org,2002:", "!!"))
            tagged.append(f":{line}: the tag {name} means nothing in a problem file; leave it out")
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            opened.append((event.anchor, 1, 1))
            sizes.pop(event.anchor, None)
            if len(opened) > DEPTH:
                raise InputError(f":{line}: more than {DEPTH} lists and mappings lie in each other; write it flatter")
            continue
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            anchor, values, depth = opened.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, values, depth = event.anchor, 1, 0
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, *_ in opened}:
                raise InputError(f":{line}: *{event.anchor} stands inside of what it repeats; write it out")
            anchor, (values, depth) = None, sizes.get(event.anchor, (1, 0))
        else:
            continue
        if anchor is not None:
            sizes[anchor] = values, depth
        if opened:
            outer, more, deeper = opened[-1]
            opened[-1] = outer, more + values, max(deeper, depth + 1)
            if opened[-1][1] > VALUES:
                raise InputError(f":{line}: more than {VALUES:,} values, aliases counted as often as they are used")
            if opened[-1][2] + len(opened) - 1 > DEPTH:
                raise InputError(f":{line}: more than {DEPTH} lists and mappings lie in each other; write it flatter")
    return tagged


class _Reader:
    """Nodes to values; every complaint is noted and passed over."""

    def __init__(self, complaints: list[str]) -> None:
        self._complaints = complaints

    def value(self, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(part) for part in node.value]
        if node.style in (None, "") and not isinstance(value := plain_value(node.value), str):
            return value
        if not node.value.isprintable():
            self._complain(node, f"the text {_short(node.value)} has characters that cannot be shown; delete them")
        return "".join(character for character in node.value if character.isprintable())

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                kind = "a list" if isinstance(key, yaml.SequenceNode) else "a mapping"
                self._complain(
                    key, f"{kind} stands where a key is expected ({{{{...}}}} of a template has to be filled in)"
                )
            elif "\xa0" in key.value:
                self._complain(key, "there is a non-breaking space before a key; use ordinary spaces")
            elif not key.value or not key.value.isprintable():
                self._complain(key, f"a key is expected before the colon, got {_short(key.value)}")
            elif key.value == "<<" and key.style in (None, ""):
                merged = self._merged(value) | merged
            elif key.value in own:
                self._complain(key, f"the key {_short(key.value)} is given twice")
            else:
                own[key.value] = self.value(value)
        return merged | own

    def _merged(self, node: yaml.Node) -> dict[str, Any]:
        """What `<<` brings; of several mappings the first counts."""
        found: dict[str, Any] = {}
        for part in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(part, yaml.MappingNode):
                self._complain(part, "<< takes a mapping, or a list of mappings")
                continue
            found = self._mapping(part) | found
        return found

    def _complain(self, node: yaml.Node, text: str) -> None:
        self._complaints.append(f":{node.start_mark.line + 1}: {text}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _explained(error: yaml.YAMLError, text: str) -> str:
    """`:line: is not YAML: why`, from the parser that explains better if it complains, too."""
    if len(text) <= _EXPLAINED:
        try:
            for _ in yaml.parse(text, Loader=yaml.SafeLoader):
                pass
        except yaml.YAMLError as other:
            error = other
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f": is not YAML: {error}"
    return f":{mark.line + 1}: is not YAML: {_why(error, text.splitlines(), mark.line)}"


def _why(error: Any, lines: list[str], at: int) -> str:
    """What is wrong with a line, in the words of someone who does not know YAML's grammar."""
    problem, context = str(error.problem or error), str(error.context or "")
    begun = error.context_mark.line + 1 if error.context_mark else None
    line = lines[at] if at < len(lines) else ""
    if re.match(r" *\t", line):
        return "a tab indents this line; use spaces"
    if "\xa0" in line:
        return "there is a non-breaking space in this line; use ordinary spaces"
    if "another document" in problem:
        return "another document begins here (---); a problem file has one"
    if "expected '<document start>'" in problem:
        return "this does not go on with what stands above; is something closed too early, or a space too much?"
    if "expected alphabetic or numeric character" in problem:
        return "a text that starts with * or & has to stand in quotes"
    if "flow" in context and begun is not None:
        bracket = "[ ]" if "sequence" in context else "{ }"
        return f"the {bracket} that starts in line {begun} is not closed, or there is no comma before this place"
    if "quoted scalar" in context and begun is not None:
        return f"the quotes that open in line {begun} are not closed ({problem})"
    if problem.startswith("mapping values are not allowed"):
        return _second_value(lines, at)
    if problem.startswith("expected <block end>"):
        return _between_levels(lines, at, "sequence" in context or "collection" in context, begun)
    if match := re.match(r"found character '(.+?)' that cannot start any token", problem):
        return f"a text that starts with {match[1]} has to stand in quotes"
    if problem == "found unexpected ':'":
        return "a space is missing after a colon, or the value"
    if "could not find expected ':'" in problem:
        return "a key without a colon; write `key: value`"
    return problem


def _second_value(lines: list[str], at: int) -> str:
    above = _above(lines, at)
    deeper = above is not None and at < len(lines) and _indent(lines[at]) > _indent(lines[above])
    if above is not None and deeper and not lines[above].rstrip().endswith(":"):
        return (
            f"this line is indented deeper than line {above + 1}, which has its value already; "
            "keys of one mapping start in the same column"
        )
    return "a second colon in one line; put a text with a colon in quotes, or begin a new line"


def _between_levels(lines: list[str], at: int, in_list: bool, begun: int | None) -> str:
    line = lines[at] if at < len(lines) else ""
    if line.lstrip().startswith(":"):
        return "a key is expected before the colon"
    above = _above(lines, at)
    if above is not None and _indent(line) > _indent(lines[above]):
        return _second_value(lines, at)
    if in_list and not line.lstrip().startswith("- "):
        return (
            f"this line starts in the column of the list that begins in line {begun}, but not with a dash; "
            "indent it deeper to belong to the entry above, or less to end the list"
        )
    return (
        f"this line is indented by {_indent(line)} spaces, which fits no line above it; "
        "keys of one mapping start in the same column"
    )


def _above(lines: list[str], at: int) -> int | None:
    """The nearest line above with something in it."""
    return next((i for i in range(min(at, len(lines)) - 1, -1, -1) if lines[i].split("#")[0].strip()), None)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
