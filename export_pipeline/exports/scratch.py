"""Memory written into over and over: what is touched once costs nothing to touch again."""

import numpy as np

_AT_FIRST = 1 << 25  # of which none is taken before it is written


class Scratch:
    """Bytes written one after the other, by address, into memory that is kept.

    ``size`` is how many are written, set by who writes them; ``room`` how many there is memory for.
    """

    def __init__(self) -> None:
        self._memory = np.empty(_AT_FIRST, np.uint8)
        self.size = 0

    @property
    def room(self) -> int:
        """The bytes there is memory for."""
        return len(self._memory)

    @property
    def address(self) -> int:
        """Where the first byte lies, until it grows."""
        return self._memory.ctypes.data

    def grow(self) -> None:
        """Make more room; what is written stays, at another address."""
        larger = np.empty(2 * self.room, np.uint8)
        larger[: self.size] = self._memory[: self.size]
        self._memory = larger

    def written(self) -> memoryview:
        """The bytes written, until others are."""
        return self._memory[: self.size].data

    def taken(self) -> bytes:
        """The bytes written, copied; it begins anew."""
        content = bytes(self.written())
        self.size = 0
        return content
