"""The grammar of rows of JSONL and CSV, byte by byte: compiled, and told by tables what the rows are made of.

Owns what each kind of value looks like. The bytes given are UTF-8 and end with a newline, at which every
step stops; a step returns the place after what it found, or -1. Texts are given one after the other, with
where each begins and the last one ends.
"""

import numpy as np
import numpy.typing as npt

from export_pipeline.exports.compiled import compiled, octet, specials, word, zeros_below

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Octets = npt.NDArray[np.uint8]
Texts = tuple[Octets, Longs]

ANY, EXTRA, ID, TEXT, NUMBER, OBJECT, HAPPENED, INSTANT, ONE_OF = range(9)
"""What a value or a cell is: ``ANY`` is a cell of ``data``, ``EXTRA`` that of its other keys; the place of
``ID`` and the instant of ``HAPPENED`` are kept."""

_FOUR_DIGITS, _TWO_DIGITS = 4, 2
_DEEPEST = 60
_EACH = 0x0101010101010101
_ZEROS, _ABOVE_NINE, _HIGHS = (np.uint64(each * _EACH) for each in (ord("0"), 0x80 - 10, 0x80))
_NONE, _LOWEST = np.uint64(0), np.uint64(1)
_MIDNIGHT, _NO_DIGITS, _SIXES, _HIGH_HALVES = (
    np.frombuffer(each, np.uint64)[0]
    for each in (
        b"00:00:00", b"\xf0\xf0\xff\xf0\xf0\xff\xf0\xf0", b"\6\6\0\6\6\0\6\6", b"\xf0" * 8
    )
)  # fmt: skip
_OCTET, _BITS = np.uint64(0xFF), tuple(np.uint64(8 * octet) for octet in range(8))
_SHORTEST_INSTANT = len("2026-11-20T12:00:00Z")
_FORMULA = np.isin(np.arange(256), list(b"=+-@\t\r"))
_ESCAPES = np.isin(np.arange(256), list(b'"\\/bfnrt'))
_ENDS_CELL = np.isin(np.arange(256), list(b',\n"\r'))


@compiled
def lines(
    octets: Octets, before: Texts, kinds: Longs, nullable: Flags, values: Texts, values_of: Longs,
    proven: Flags, ends: Longs, us: Longs, ids: Longs, id_ends: Longs,
) -> None:  # fmt: skip
    """Look at lines of JSONL: where each ends, whether it is right, and what is kept of it."""
    keys, keys_at = before
    fields = len(kinds)
    known = np.array([-1, 0])
    begin = 0
    for row in range(len(ends)):
        at = begin
        for field in range(fields):
            at = _after(octets, at, keys, keys_at[field], keys_at[field + 1])
            if at < 0:
                break
            kind = kinds[field]
            if kind == OBJECT:
                at = _after_object(octets, at)
            elif kind == HAPPENED:
                us[row], at = _instant(octets, at, known)
            elif kind == INSTANT:
                _, at = _instant(octets, at, known)
            elif kind == ONE_OF:
                at = _after_one_of(octets, at, values, values_of[field], values_of[field + 1])
            elif nullable[field] and octet(octets, at) == ord("n"):
                at = _after_null(octets, at)
            elif kind == NUMBER:
                at = _after_number(octets, at)
            elif octet(octets, at) != ord('"'):
                at = -1
            elif kind == TEXT:
                at = _after_text(octets, at + 1)
            else:
                ids[row] = at + 1
                at = _after_plain_text(octets, at + 1)
                id_ends[row] = at - 1
            if at < 0:
                break
        if at >= 0:
            at = _after(octets, at, keys, keys_at[fields], keys_at[fields + 1])
        proven[row] = at >= 0
        if at < 0:
            at = begin
            while octet(octets, at) != ord("\n"):
                at += 1
            at += 1
        ends[row] = begin = at


@compiled
def _after(octets, at, texts, begin, end):
    """The place after a text, if it stands at ``at``; else -1."""
    length = end - begin
    if at + length > len(octets):
        return -1
    if length >= 8:
        last = at + length - 8
        while at < last:
            if word(octets, at) != word(texts, begin):
                return -1
            at += 8
            begin += 8
        return last + 8 if word(octets, last) == word(texts, end - 8) else -1
    while begin < end:
        if octet(octets, at) != octet(texts, begin):
            return -1
        at += 1
        begin += 1
    return at


@compiled
def _after_one_of(octets, at, values, first, last):
    texts, texts_at = values
    for value in range(first, last):
        end = _after(octets, at, texts, texts_at[value], texts_at[value + 1])
        if end >= 0:
            return end
    return -1


@compiled
def _after_null(octets, at):
    if (
        octet(octets, at + 1) == ord("u")
        and octet(octets, at + 2) == ord("l")
        and octet(octets, at + 3) == ord("l")
    ):
        return at + 4
    return -1


@compiled
def _after_clean(octets, at):
    """The place of the first quote, backslash or control character from ``at`` on."""
    while at + 16 <= len(octets):
        found = specials(octets, at)
        if found != _NONE:
            return at + zeros_below(found)
        at += 16
    while octet(octets, at) >= ord(" ") and octet(octets, at) != ord('"') and octet(octets, at) != ord("\\"):
        at += 1
    return at


@compiled
def _after_plain_text(octets, at):
    at = _after_clean(octets, at)
    return at + 1 if octet(octets, at) == ord('"') else -1


@compiled
def _after_text(octets, at):
    while True:
        at = _after_clean(octets, at)
        special = octet(octets, at)
        if special == ord('"'):
            return at + 1
        if special != ord("\\"):
            return -1
        at = _after_escape(octets, at + 1)
        if at < 0:
            return -1


@compiled
def _after_escape(octets, at):
    kind = octet(octets, at)
    if kind != ord("u"):
        return at + 1 if _ESCAPES[kind] else -1
    unit = _hexadecimal(octets, at + 1)
    if 0xD800 <= unit < 0xDC00 and octet(octets, at + 5) == ord("\\") and octet(octets, at + 6) == ord("u"):
        at += 6
        unit = _hexadecimal(octets, at + 1) - 0xDC00
        return at + 5 if 0 <= unit < 0x400 else -1
    return -1 if unit < 0 or 0xD800 <= unit < 0xE000 else at + 5


@compiled
def _hexadecimal(octets, at):
    value = 0
    for place in range(at, at + _FOUR_DIGITS):
        digit = int(octet(octets, place))
        if ord("0") <= digit <= ord("9"):
            digit -= ord("0")
        elif ord("a") <= digit | 0x20 <= ord("f"):
            digit = (digit | 0x20) - ord("a") + 10
        else:
            return -1
        value = value * 16 + digit
    return value


@compiled
def _is_digit(octets, at):
    return ord("0") <= octet(octets, at) <= ord("9")


@compiled
def _after_digits(octets, at):
    if not _is_digit(octets, at):
        return -1
    while _is_digit(octets, at):
        at += 1
    return at


@compiled
def _after_number(octets, at):
    end = _after_short_number(octets, at)
    if end >= 0:
        return end
    if octet(octets, at) == ord("-"):
        at += 1
    at = at + 1 if octet(octets, at) == ord("0") else _after_digits(octets, at)
    if at >= 0 and octet(octets, at) == ord("."):
        at = _after_digits(octets, at + 1)
    if at >= 0 and octet(octets, at) | 0x20 == ord("e"):
        at += 1
        if octet(octets, at) == ord("+") or octet(octets, at) == ord("-"):
            at += 1
        at = _after_digits(octets, at)
    return at


@compiled
def _after_short_number(octets, at):
    """The place after a number of few digits, in all; -1 if that cannot be told at once."""
    if at + 8 > len(octets) or octet(octets, at) == ord("0"):
        return -1
    differing = word(octets, at) ^ _ZEROS
    others = (differing | differing + _ABOVE_NINE) & _HIGHS
    if others == _NONE:
        return -1
    end = at + (zeros_below(others) >> 3)
    if end == at:
        return -1
    if octet(octets, end) == ord("."):
        others &= others - _LOWEST
        if others == _NONE:
            return -1
        end, dot = at + (zeros_below(others) >> 3), end
        if end == dot + 1:
            return -1
    return -1 if octet(octets, end) | 0x20 == ord("e") else end


@compiled
def _after_scalar(octets, at):
    first = octet(octets, at)
    if first == ord('"'):
        return _after_text(octets, at + 1)
    if first == ord("n"):
        return _after_null(octets, at)
    if first == ord("t"):
        rue = octet(octets, at + 1) == ord("r") and octet(octets, at + 2) == ord("u")
        return at + 4 if rue and octet(octets, at + 3) == ord("e") else -1
    if first == ord("f"):
        als = (
            octet(octets, at + 1) == ord("a")
            and octet(octets, at + 2) == ord("l")
            and octet(octets, at + 3) == ord("s")
        )
        return at + 5 if als and octet(octets, at + 4) == ord("e") else -1
    return _after_number(octets, at)


@compiled
def _after_key(octets, at):
    if octet(octets, at) != ord('"'):
        return -1
    at = _after_text(octets, at + 1)
    return at + 1 if at >= 0 and octet(octets, at) == ord(":") else -1


@compiled
def _after_object(octets, at):
    """The place after an object without white space, nested less than ``_DEEPEST`` deep."""
    if octet(octets, at) != ord("{"):
        return -1
    depth, are_objects = 0, 0  # the lowest bit tells of what is innermost
    while True:
        first = octet(octets, at)
        if first == ord("{") or first == ord("["):
            is_object = first == ord("{")
            if depth == _DEEPEST:
                return -1
            if octet(octets, at + 1) == first + 2:
                at += 2
            else:
                depth += 1
                are_objects = are_objects * 2 + is_object
                at = _after_key(octets, at + 1) if is_object else at + 1
                if at < 0:
                    return -1
                continue
        else:
            at = _after_scalar(octets, at)
            if at < 0:
                return -1
        while depth and octet(octets, at) == (ord("}") if are_objects & 1 else ord("]")):
            depth -= 1
            are_objects >>= 1
            at += 1
        if not depth:
            return at
        if octet(octets, at) != ord(","):
            return -1
        at = _after_key(octets, at + 1) if are_objects & 1 else at + 1
        if at < 0:
            return -1


@compiled
def _digits(octets, at, count):
    value = 0
    for place in range(at, at + count):
        if not _is_digit(octets, place):
            return -1
        value = value * 10 + int(octet(octets, place)) - ord("0")
    return value


@compiled
def _instant(octets, at, known):
    """The instant that is written at ``at``, in microseconds since 1970, and the place after it, else -1.

    ``known`` is where a date stands and which day since 1970 that is: most rows have the same one.
    """
    if at + _SHORTEST_INSTANT > len(octets):
        return 0, -1
    if known[0] >= 0 and word(octets, at) == word(octets, known[0]) and _ends_alike(octets, at, known[0]):
        date = known[1]
    else:
        date, is_right = _day(octets, at)
        if not is_right:
            return 0, -1
        known[0], known[1] = at, date
    clock = word(octets, at + 11)
    digits = clock ^ _MIDNIGHT
    if digits & _NO_DIGITS != _NONE or (digits + _SIXES) & _HIGH_HALVES != _NONE:
        return 0, -1
    hour = np.int64(digits & _OCTET) * 10 + np.int64(digits >> _BITS[1] & _OCTET)
    minute = np.int64(digits >> _BITS[3] & _OCTET) * 10 + np.int64(digits >> _BITS[4] & _OCTET)
    second = np.int64(digits >> _BITS[6] & _OCTET) * 10 + np.int64(digits >> _BITS[7])
    if hour > 23 or minute > 59 or second > 59:
        return 0, -1
    at += 19
    millisecond = 0
    if octet(octets, at) == ord("."):
        millisecond = _digits(octets, at + 1, 3)
        if millisecond <= 0:
            return 0, -1
        at += 4
    if octet(octets, at) != ord("Z"):
        return 0, -1
    return (((date * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + millisecond * 1000, at + 1


@compiled
def _ends_alike(octets, at, known):
    """Whether the last three of eleven characters are the same."""
    return (
        octet(octets, at + 8) == octet(octets, known + 8)
        and octet(octets, at + 9) == octet(octets, known + 9)
        and octet(octets, at + 10) == octet(octets, known + 10)
    )


@compiled
def _day(octets, at):
    """The date that is written at ``at``, in days since 1970, and whether it is one and a time follows."""
    year = _digits(octets, at, _FOUR_DIGITS)
    if year < 1 or octet(octets, at + 4) != ord("-"):
        return 0, False
    month = _digits(octets, at + 5, _TWO_DIGITS)
    if not 1 <= month <= 12 or octet(octets, at + 7) != ord("-"):
        return 0, False
    day = _digits(octets, at + 8, _TWO_DIGITS)
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 28 + is_leap if month == 2 else 31 - (month == 4 or month == 6 or month == 9 or month == 11)
    if not 1 <= day <= days or octet(octets, at + 10) != ord("T"):
        return 0, False
    # Of a year that begins in March.
    years = year - (month <= 2)
    since_march = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * years + years // 4 - years // 100 + years // 400 + since_march - 719_468, True


@compiled
def cells(
    octets: Octets, kinds: Longs, nullable: Flags, values: Texts, values_of: Longs,
    ends: Longs, us: Longs, ids: Longs, id_ends: Longs,
) -> int:  # fmt: skip
    """Look at rows of CSV, as ``lines``: how many there are, or -1 once one is not right."""
    columns = len(kinds)
    known = np.array([-1, 0])
    at, row = 0, 0
    while at < len(octets):
        for column in range(columns):
            kind = kinds[column]
            first = octet(octets, at)
            if first == ord(",") or first == ord("\n"):
                if not nullable[column]:
                    return -1
            elif kind in (ANY, TEXT):
                at = _after_cell(octets, at, kind == ANY)
            elif kind == EXTRA:
                if first != ord('"') or octet(octets, at + 1) != ord("{"):
                    return -1
                begin = at
                at = _after_cell(octets, at, True)
                if at < begin + len('"{.}"') or octet(octets, at - 2) != ord("}"):
                    return -1
            elif kind == HAPPENED:
                us[row], at = _instant(octets, at, known)
            elif kind == INSTANT:
                _, at = _instant(octets, at, known)
            elif kind == ONE_OF:
                at = _after_one_of(octets, at, values, values_of[column], values_of[column + 1])
            elif kind == NUMBER:
                at = _after_number(octets, at)
            elif kind == ID and first != ord('"'):
                ids[row] = at
                at = _after_cell(octets, at, False)
                id_ends[row] = at
            else:
                return -1
            if at < 0 or octet(octets, at) != (ord(",") if column + 1 < columns else ord("\n")):
                return -1
            at += 1
        ends[row] = at
        row += 1
    return row


@compiled
def _after_cell(octets, at, is_data):
    """The place after a cell of text in which a spreadsheet sees no formula; in ``data``, of a number too."""
    is_quoted = octet(octets, at) == ord('"')
    at += is_quoted
    if _FORMULA[octet(octets, at)] and not (
        is_data and octet(octets, at) == ord("-") and _is_digit(octets, at + 1)
    ):
        return -1
    if not is_quoted:
        while not _ENDS_CELL[octet(octets, at)]:
            at += 1
        return at
    while at < len(octets):
        if octet(octets, at) == ord('"'):
            if at + 1 == len(octets) or octet(octets, at + 1) != ord('"'):
                return at + 1
            at += 1
        at += 1
    return -1
