"""Checksums (CRC) that take the highest bit first, which `zlib` has none of: by a table for each polynomial."""

from __future__ import annotations


class Checksum:
    """The CRC of so many bits by this polynomial, which begins at zero and is written as it is."""

    def __init__(self, polynomial: int, bits: int) -> None:
        self._shift = bits - 8
        self._mask = (1 << bits) - 1
        self._table = tuple(self._of_byte(byte, polynomial, 1 << bits - 1) for byte in range(256))

    def __call__(self, data: bytes) -> int:
        """The checksum of `data`."""
        table, shift, mask = self._table, self._shift, self._mask
        value = 0
        for byte in data:
            value = (value << 8 & mask) ^ table[value >> shift ^ byte]
        return value

    def _of_byte(self, byte: int, polynomial: int, top: int) -> int:
        value = byte << self._shift
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & self._mask
        return value
