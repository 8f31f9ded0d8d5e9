"""Order of a pass over very many files, computed place by place: nothing is stored, whatever their number."""

import numpy as np

_ROUNDS = 8


def permuted(places: np.ndarray, n: int, key: tuple[int, int]) -> np.ndarray:
    """Compute the images of some places under a pseudo-random permutation of 0, ..., n - 1.

    A Feistel network on the least even number of bits that hold n, walked again where it leads above n - 1. Source:
    Black and Rogaway 2002, "Ciphers with arbitrary finite domains", sections 3 and 4.

    Args:
        places: Numbers from 0 to n - 1, int64 (k,).
        n: Size of the permutation.
        key: Two numbers of at least 0 that choose it.

    Returns:
        int64 (k,).

    Examples:
        >>> sorted(permuted(np.arange(10), 10, (0, 0)).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    half = np.uint64((max(n - 1, 1).bit_length() + 1) // 2)
    low = np.uint64((1 << int(half)) - 1)
    rng = np.random.Generator(np.random.Philox(key=key[0], counter=np.array([0, 0, 0, key[1]], np.uint64)))
    keys = rng.integers(2**64, size=_ROUNDS, dtype=np.uint64)

    def network(x: np.ndarray) -> np.ndarray:
        left, right = x >> half, x & low
        for k in keys:
            left, right = right, left ^ (_mixed(right + k) & low)
        joined: np.ndarray = left << half | right
        return joined

    x = network(places.astype(np.uint64))
    while (outside := x >= n).any():
        x[outside] = network(x[outside])
    return x.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """Mix the bits of numbers: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
