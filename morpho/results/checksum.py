"""The CRC-32 of a file from those of its parts, so that any number of ranks can share the work."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_POLYNOMIAL = 0xEDB88320  # zlib's, bit-reversed: the highest bit is the coefficient of x^0
_ONE = 1 << 31


def combine(parts: Iterable[tuple[int, int]]) -> int:
    """CRC-32 of the concatenation of parts given as (zlib.crc32, length in bytes); local.

    crc(AB) = crc(A) x^(8 |B|) + crc(B) modulo the polynomial; the pre- and post-conditioning of zlib cancel.
    """
    total = 0
    for crc, length in parts:
        total = _multiply(total, _shift(length)) ^ crc
    return total


@lru_cache(maxsize=64)
def _shift(length: int) -> int:
    """x^(8 length)."""
    result, square = _ONE, _ONE >> 8
    while length:
        if length & 1:
            result = _multiply(result, square)
        square = _multiply(square, square)
        length >>= 1
    return result


def _multiply(a: int, b: int) -> int:
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
