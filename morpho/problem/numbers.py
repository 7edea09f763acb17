"""Plain words of a YAML file as values: the core schema of YAML 1.2, and what else may have been meant."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

LONGEST = 400  #: characters of a number
LARGEST, SMALLEST = 1e50, 1e-50  #: magnitudes whose squares and products are numbers, too

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"": None, "~": None} | {
    form: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for form in (word, word.capitalize(), word.upper())
}
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_NUMBER = r"[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)(?:[eE][-+]?[0-9]+)?"
_LEADING_ZERO = re.compile(r"([-+]?)0+([0-9]+(?:\.[0-9]*)?)")
_OTHER_BASE = re.compile(r"[-+]?0(?:x[0-9a-fA-F]+|o[0-7]+|b[01]+)")
_BASE_60 = re.compile(r"[-+]?[0-9]+(?::[0-9]+)+(?:\.[0-9]*)?")
_THOUSANDS = re.compile(r"[-+]?[0-9]{1,3}(?:[,_' ][0-9]{3})+(?:\.[0-9]*)?")
_COMMA = re.compile(r"([-+]?[0-9]+),([0-9]+)")
_UNDERSCORES = re.compile(r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?")
_PERCENT = re.compile(rf"({_NUMBER})\s*%")
_FRACTION = re.compile(r"([-+]?[0-9]{1,15})\s*/\s*([0-9]{1,15})")
_UNIT = re.compile(rf"({_NUMBER})\s*([A-Za-zµμ°Ω][\w/*^·²³°-]*)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*")
_SUM = re.compile(r"[-+*/().eE0-9 ]*[0-9][-+*/().eE0-9 ]*")


def plain_value(text: str) -> Any:
    """The value of a word without quotes: a number, true, false, null, or the text itself.

    A whole number is an int however it is written (`1e5`); what YAML 1.1 took for one (`012`, `1:30`, `1_000`) and what
    is too long for one stays text.
    """
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= LONGEST:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            value = float(text)
            if math.isfinite(value):
                return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def why_no_number(text: str) -> str:
    """What is wrong with a text that should be a number, and what to write."""
    if len(text) > LONGEST:
        return f"a number of {len(text)} characters; morpho computes with 16 digits"
    if _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text):
        return "it is too large" if math.isinf(float(text)) else "text in quotes; leave out the quotes for a number"
    if match := _LEADING_ZERO.fullmatch(text):
        return _leading_zero(match)
    if _OTHER_BASE.fullmatch(text):
        return f"write it in decimal: {int(text, 0)}"
    if _BASE_60.fullmatch(text):
        return "a number has no colon; write one decimal number"
    if _THOUSANDS.fullmatch(text):
        return f"a number has no thousands separator; write {re.sub('[^-+.0-9]', '', text)}"
    if match := _COMMA.fullmatch(text):
        return f"a number has no comma; write {match[1]}.{match[2]}"
    if _UNDERSCORES.fullmatch(text):
        return f"a number has no underscore; write {text.replace('_', '')}"
    if match := _PERCENT.fullmatch(text):
        return f"write {float(match[1]) / 100:g} for {match[1]} %"
    if (match := _FRACTION.fullmatch(text)) and int(match[2]):
        return f"write it in decimal: {float(Fraction(int(match[1]), int(match[2]))):.10g}"
    if _DATE.fullmatch(text):
        return "a date, where a number is expected"
    if text.lower().lstrip("+-.") in ("nan", "inf", "infinity"):
        return "a finite number is expected"
    if match := _UNIT.fullmatch(text):
        return f"numbers have no units here; write {match[1]} alone, in units that fit those of the other numbers"
    if _SUM.fullmatch(text):
        return "morpho does not calculate; write the number that comes out"
    return "a number is expected"


def why_out_of_range(value: float) -> str | None:
    """What is wrong with the magnitude of a number, if anything."""
    if value == 0 or not math.isfinite(value) or SMALLEST <= abs(value) <= LARGEST:
        return None
    return f"its magnitude should be between {SMALLEST:g} and {LARGEST:g}; choose other units"


def _leading_zero(match: re.Match[str]) -> str:
    sign, rest = match.groups()
    if len(match[0].lstrip("+-")) == 3 and "." not in rest:
        meant = "a number has neither leading zeros nor a thousands separator"
    else:
        meant = "a number has no leading zero"
    octal = int(match[0], 8) if re.fullmatch("[-+]?[0-7]+", match[0]) else None
    return f"{meant}; write {sign}{rest}" + (f", or {octal} if it was meant as octal" if octal else "")
