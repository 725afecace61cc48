"""Memory written into over and over: what is touched once costs nothing to touch again."""

import weakref
from collections import deque

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_AT_FIRST = 1 << 25  # of which none is taken before it is written
_MOST_SPARE = 4

Octets = npt.NDArray[np.uint8]

_spare: deque[Octets] = deque(maxlen=_MOST_SPARE)


class Scratch:
    """Bytes written one after the other, by address, into memory that is kept.

    ``size`` is how many are written, set by who writes them; ``room`` how many there is memory for.
    """

    def __init__(self) -> None:
        self._memory: Octets = np.empty(_AT_FIRST, np.uint8)
        self.size = 0

    @property
    def room(self) -> int:
        """The bytes there is memory for."""
        return len(self._memory)

    @property
    def address(self) -> int:
        """Where the first byte lies, until it grows or is handed over."""
        return self._memory.ctypes.data

    def grow(self) -> None:
        """Make more room; what is written stays, at another address."""
        larger = np.empty(2 * self.room, np.uint8)
        larger[: self.size] = self._memory[: self.size]
        self._memory = larger

    def written(self) -> memoryview:
        """The bytes written, until others are."""
        return self._memory[: self.size].data

    def handed_over(self) -> pa.Buffer:
        """The bytes written, not copied; it begins anew, in memory that others have let go of."""
        memory = self._memory
        content = pa.py_buffer(memory[: self.size])
        weakref.finalize(content, _spare.append, memory).atexit = False
        try:
            self._memory = _spare.pop()
        except IndexError:
            self._memory = np.empty(_AT_FIRST, np.uint8)
        self.size = 0
        return content
