"""An order of the numbers below n that a seed shuffles, without a list of them."""

from __future__ import annotations

import hashlib

_ROUNDS = 4


class Permutation:
    """A bijection of the numbers below `size`: a Feistel network over the next power of four, walked until inside.

    Source: Black and Rogaway, "Ciphers with arbitrary finite domains" (CT-RSA 2002), the generalized Feistel and cycle
    walking.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._seed = seed
        self._half_bits = max(1, (max(1, size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half_bits) - 1

    def __getitem__(self, place: int) -> int:
        """The number at a place below `size`."""
        if not 0 <= place < self.size:
            raise IndexError(place)
        number = place
        while True:
            number = self._shuffled(number)
            if number < self.size:
                return number

    def _shuffled(self, number: int) -> int:
        left, right = number >> self._half_bits, number & self._mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ self._noise(turn, right)
        return left << self._half_bits | right

    def _noise(self, turn: int, half: int) -> int:
        digest = hashlib.blake2b(f"{self._seed}/{turn}/{half}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) & self._mask
