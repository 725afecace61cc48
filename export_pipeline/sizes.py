"""Numbers of bytes as a person reads them."""


def size(count: int) -> str:
    """A number of bytes in powers of 1000, such as ``245MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f}{unit}" if unit == "B" or amount >= 10 else f"{amount:.1f}{unit}"
        amount /= 1000
    return f"{amount:.1f}TB"
