"""Numbers as a person reads them."""


def size(count: int) -> str:
    """A number of bytes in powers of 1000, such as ``245MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f}{unit}" if unit == "B" or amount >= 10 else f"{amount:.1f}{unit}"
        amount /= 1000
    return f"{amount:.1f}TB"


def counted(count: int, noun: str) -> str:
    """How many there are of something, such as ``1 file`` and ``2 files``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
