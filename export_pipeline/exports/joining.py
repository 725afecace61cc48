"""Lines put together from the columns of tables, byte by byte: compiled, and told by numbers what is where.

Owns how each kind of value is written (contract, section 3). Works on memory by address, so that rows are
read where they were decoded and written once, in the order of the export. Who calls keeps all of it alive.
"""

import numpy as np
import numpy.typing as npt

from export_pipeline.exports.compiled import (
    compiled,
    move_eight,
    move_four,
    move_sixteen,
    peek_int,
    peek_long,
    peek_octet,
    peek_word,
    poke_int,
    poke_octet,
    poke_short,
    poke_word,
    zeros_below,
)

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

RAW, QUOTED, ESCAPED, CELL, INSTANT = range(5)
"""How a value is written: as it is, with nothing for null; as JSON that needs no escapes, or may need some;
as a cell that may need quotes or a prefix; an instant in microseconds since 1970, in both formats."""

KIND, STARTS, ENDS, WIDTH, TEXTS, PLACES, VALID, VALID_FROM = range(8)
"""What is known of a column, by address. A value's text lies from its start to its end in ``TEXTS``, both of
``WIDTH`` bytes. ``PLACES``, if not 0, gives the place of each row's value, else it is the row's. ``VALID``,
if not 0, has a bit for each row, from bit ``VALID_FROM`` on."""
_KNOWN_BYTES = 8 * 8

LONGEST_INSTANT = len("2026-11-20T12:00:00.000Z")

_EACH = 0x0101010101010101
_QUOTES, _BACKSLASHES, _COMMAS, _BLANKS = (np.uint64(ord(each) * _EACH) for each in '"\\, ')
_ONES, _HIGHS, _NONE = np.uint64(_EACH), np.uint64(0x80 * _EACH), np.uint64(0)
_LOWEST, _TO_CLOSING = np.uint64(1), ord("}") - ord("{")
_FORMULA = np.isin(np.arange(256), list(b"=+-@\t\r"))
_NEEDS_QUOTES = np.isin(np.arange(256), list(b',"\r\n'))
_SHORT_ESCAPES = np.zeros(256, np.uint8)
_SHORT_ESCAPES[list(b'"\\\b\f\n\r\t')] = list(b'"\\bfnrt')
_UNESCAPED = np.zeros(256, np.uint8)
_UNESCAPED[list(b'"\\bfnrt')] = list(b'"\\\b\f\n\r\t')
_UNICODE_ESCAPE, _NULL = np.frombuffer(b"\\u00null", np.uint32)
_QUOTE_BRACE, _BRACE_QUOTE = np.frombuffer(b'"{}"', np.uint16)
_HEXADECIMAL = np.frombuffer(b"0123456789ABCDEF", np.uint8)
_EXACT_DIGITS, _FEW_ZEROS = 15, 3
_DEEPEST, _MOST_OTHERS = 60, 16  # the depth has a bit each in a word

_DAY = 86_400_000
_THOUSAND, _SIXTY = np.uint32(1000), np.uint32(60)
_PAIRS = np.frombuffer("".join(f"{number:02d}" for number in range(100)).encode(), np.uint16)
_FRACTIONS = np.frombuffer("".join(f".{number:03d}" for number in range(1000)).encode(), np.uint32)
_DASHES, _SHORT, _FIVE_OCTETS = np.frombuffer(b"\0\0\0\0-\0\0-", np.uint64)[0], np.uint64(16), np.uint64(40)
_T = np.frombuffer(b"\0\0T\0", np.uint32)[0]


@compiled
def join(
    order: Longs, row: int, stop: int, begins: Longs, columns: Longs,
    literals: int, literals_at: Longs, to: int, end: int, enough: int,
) -> tuple[int, int]:  # fmt: skip
    """Write the lines of the rows at ``order[row:stop]``, as far as there is room.

    Args:
        order: rows, counted through all tables; the rows of each begin at ``begins``.
        columns: what is known of each table's columns.
        literals: the address of the texts that stand before each column and after the last one.
        to: the address of the first line; nothing is written from ``end`` on.
        enough: the address after which no line begins.

    Returns:
        The first row not written, and the address after the last line.
    """
    pieces = columns.shape[1]
    fixed = literals_at[pieces + 1] + pieces * LONGEST_INSTANT
    day, date = np.int64(-1), (np.uint64(0), np.uint32(0))
    while row < stop and to < enough:
        if to + fixed > end:
            return row, to
        line = to
        table = _table(begins, order[row])
        place = order[row] - begins[table]
        column = columns.ctypes.data + table * pieces * _KNOWN_BYTES
        for piece in range(pieces):
            at = literals_at[piece]
            to = _copied(to, literals + at, literals_at[piece + 1] - at)
            kind = peek_long(column + 8 * KIND)
            starts = peek_long(column + 8 * STARTS)
            valid = peek_long(column + 8 * VALID)
            if kind == INSTANT:
                milliseconds = peek_long(starts + 8 * place) // 1000
                if milliseconds // _DAY != day:
                    day = milliseconds // _DAY
                    date = _date(day)
                poke_word(to, date[0])
                poke_int(to + 8, date[1])
                to = _clock(to + 11, np.uint32(milliseconds - day * _DAY))
            elif valid != 0 and not _bit(valid, peek_long(column + 8 * VALID_FROM) + place):
                if kind in (QUOTED, ESCAPED):
                    poke_int(to, _NULL)
                    to += 4
            else:
                value, places = place, peek_long(column + 8 * PLACES)
                if places != 0:
                    value = np.int64(peek_int(places + 4 * place))
                width = peek_long(column + 8 * WIDTH)
                start = _long(starts, width, value)
                length = _long(peek_long(column + 8 * ENDS), width, value) - start
                source = peek_long(column + 8 * TEXTS) + start
                if to + fixed + (length << 3 if kind == ESCAPED else length << (kind == CELL)) > end:
                    return row, line
                if kind == RAW:
                    to = _copied(to, source, length)
                elif kind == QUOTED:
                    poke_octet(to, ord('"'))
                    to = _copied(to + 1, source, length)
                    poke_octet(to, ord('"'))
                    to += 1
                elif kind == ESCAPED:
                    to = _escaped(to, source, length)
                else:
                    to = _cell(to, source, length, False)
            column += _KNOWN_BYTES
        to = _copied(to, literals + literals_at[pieces], literals_at[pieces + 1] - literals_at[pieces])
        row += 1
    return row, to


@compiled
def join_cells(
    rows: int, starts: int, width: int, texts: int, names: int, names_at: Longs, to: int,
    cell_starts: Longs, cell_ends: Longs, simple: Flags,
) -> int:  # fmt: skip
    """Write the cells of objects: one a name, and one of all other keys.

    Args:
        starts: the address of where in ``texts`` each object begins, and the last one ends, each of ``width``
            bytes.
        names: the address of the names, each followed by a quote and a colon.
        to: the address of the first cell; there is room for twice as many bytes as the objects have, and four
            more for each row and two for each name of it.
        cell_starts: set to where the cells of each row begin, counted from ``to``.
        cell_ends: set to where they end.
        simple: set to whether a row is written: each key is there once, and all numbers and escapes are such
            as any writer writes alike.

    Returns:
        The address after the last cell.
    """
    fields = len(names_at) - 1
    first = to
    row_of = np.full(fields, -1, np.int64)
    following = np.zeros(fields + 1, np.int64)
    value_starts, value_ends = np.zeros(fields, np.int64), np.zeros(fields, np.int64)
    others = np.zeros((3, _MOST_OTHERS), np.int64)
    for row in range(rows):
        source, end = texts + _long(starts, width, row), texts + _long(starts, width, row + 1)
        count = _read(source, end, names, names_at, row, row_of, following, value_starts, value_ends, others)
        simple[row] = count >= 0
        cell_starts[row] = to - first
        if simple[row]:
            for field in range(fields):
                if row_of[field] == row:
                    to = _value_cell(to, value_starts[field], value_ends[field] - value_starts[field])
                poke_octet(to, ord(","))
                to += 1
            if count > 0:
                to = _others_cell(to, others, count)
        cell_ends[row] = to - first
    return to


@compiled
def are_clean(starts: int, width: int, count: int, texts: int, for_cells: bool) -> bool:
    """Whether none of texts holds a quote, a backslash or a control character: they are JSON as they are.

    For cells, also whether none holds a comma, is empty, or begins as a formula does.
    """
    if not _is_clean(texts + _long(starts, width, 0), texts + _long(starts, width, count), for_cells):
        return False
    if for_cells:
        for text in range(count):
            start = _long(starts, width, text)
            if start == _long(starts, width, text + 1) or _FORMULA[peek_octet(texts + start)]:
                return False
    return True


@compiled
def _long(address, width, place):
    """The number at a place of many, each of four or eight bytes."""
    if width == 4:
        return np.int64(peek_int(address + 4 * place))
    return peek_long(address + 8 * place)


@compiled
def _is_clean(at, end, comma):
    while at + 8 <= end:
        if _specials(peek_word(at), comma) != _NONE:
            return False
        at += 8
    while at < end:
        octet = peek_octet(at)
        if octet < ord(" ") or octet == ord('"') or octet == ord("\\") or (comma and octet == ord(",")):
            return False
        at += 1
    return True


@compiled
def _specials(eight, comma):
    """The highest bit of each of eight bytes at which a text is not copied blindly."""
    quotes, backslashes = eight ^ _QUOTES, eight ^ _BACKSLASHES
    special = (quotes - _ONES) & ~quotes | (backslashes - _ONES) & ~backslashes | (eight - _BLANKS) & ~eight
    if comma:
        commas = eight ^ _COMMAS
        special |= (commas - _ONES) & ~commas
    return special & _HIGHS


@compiled
def _table(begins, place):
    """The table that has a row."""
    low, high = 0, len(begins) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if begins[middle] <= place:
            low = middle
        else:
            high = middle
    return low


@compiled
def _copied(to, source, length):
    """Copy a text, and nothing beyond its ends; the address after it."""
    if length >= 16:
        last = length - 16
        at = 0
        while at < last:
            move_sixteen(to + at, source + at)
            at += 16
        move_sixteen(to + last, source + last)
    elif length >= 8:
        move_eight(to, source)
        move_eight(to + length - 8, source + length - 8)
    elif length >= 4:
        move_four(to, source)
        move_four(to + length - 4, source + length - 4)
    else:
        for at in range(length):
            poke_octet(to + at, peek_octet(source + at))
    return to + length


@compiled
def _bit(address, place):
    return peek_octet(address + (place >> 3)) >> (place & 7) & 1


@compiled
def _escaped(to, source, length):
    poke_octet(to, ord('"'))
    to += 1
    for at in range(source, source + length):
        octet = peek_octet(at)
        if _SHORT_ESCAPES[octet]:
            poke_octet(to, ord("\\"))
            poke_octet(to + 1, _SHORT_ESCAPES[octet])
            to += 2
        elif octet < ord(" "):
            poke_int(to, _UNICODE_ESCAPE)
            poke_octet(to + 4, ord("0") + (octet >> 4))
            poke_octet(to + 5, _HEXADECIMAL[octet & 15])
            to += 6
        else:
            poke_octet(to, octet)
            to += 1
    poke_octet(to, ord('"'))
    return to + 1


@compiled
def _cell(to, source, length, escaped):
    """A text as a cell: a formula is defused, an empty text is told from null, quotes where needed.

    ``escaped``: the text has JSON's escapes, of which the cell has none.
    """
    end = source + length
    if length > 0 and not _FORMULA[peek_octet(source)] and _is_clean(source, end, True):
        return _copied(to, source, length)
    quoted = length == 0
    at = source
    while at < end:
        octet, at = _character(at, escaped)
        quoted |= _NEEDS_QUOTES[octet]
    if quoted:
        poke_octet(to, ord('"'))
        to += 1
    if length > 0 and _FORMULA[_character(source, escaped)[0]]:
        poke_octet(to, ord("'"))
        to += 1
    to = _doubled(to, source, end, escaped)
    if quoted:
        poke_octet(to, ord('"'))
        to += 1
    return to


@compiled
def _doubled(to, at, end, escaped):
    """A text, in which quotes are doubled."""
    while at < end:
        octet, at = _character(at, escaped)
        if octet == ord('"'):
            poke_octet(to, octet)
            to += 1
        poke_octet(to, octet)
        to += 1
    return to


@compiled
def _character(at, escaped):
    """The byte of a text that stands at ``at``, or is escaped there, and the address after it."""
    octet = peek_octet(at)
    if escaped and octet == ord("\\"):
        return _UNESCAPED[peek_octet(at + 1)], at + 2
    return octet, at + 1


@compiled
def _date(day):
    """The first eight, and three more, characters of an instant of a day since 1970-01-01."""
    # Years that begin in March.
    days = day + 719_468
    era = days // 146_097
    of_era = days - era * 146_097
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    since_march = (5 * of_year + 2) // 153
    month = since_march + 3 if since_march < 10 else since_march - 9
    year = year_of_era + era * 400 + (month <= 2)
    century, year, month = _PAIRS[year // 100], _PAIRS[year % 100], _PAIRS[month]
    day_of_month = _PAIRS[of_year - (153 * since_march + 2) // 5 + 1]
    first = _DASHES | np.uint64(century) | np.uint64(year) << _SHORT | np.uint64(month) << _FIVE_OCTETS
    return first, np.uint32(day_of_month) | _T


@compiled
def _clock(to, milliseconds):
    """Write the time of a day, with milliseconds where they are not zero."""
    seconds = milliseconds // _THOUSAND
    minutes = seconds // _SIXTY
    hours = minutes // _SIXTY
    rest = milliseconds - seconds * _THOUSAND
    poke_short(to, _PAIRS[hours])
    poke_octet(to + 2, ord(":"))
    poke_short(to + 3, _PAIRS[minutes - hours * _SIXTY])
    poke_octet(to + 5, ord(":"))
    poke_short(to + 6, _PAIRS[seconds - minutes * _SIXTY])
    to += 8
    if rest != 0:
        poke_int(to, _FRACTIONS[rest])
        to += 4
    poke_octet(to, ord("Z"))
    return to + 1


@compiled
def _value_cell(to, source, length):
    """A value of JSON as a cell; of null nothing is there."""
    first = peek_octet(source) if length > 0 else np.uint8(0)
    if first == ord('"'):
        return _cell(to, source + 1, length - 2, True)
    return _cell(to, source, length, False) if _is_opening(first) else _copied(to, source, length)


@compiled
def _others_cell(to, others, count):
    """An object of other keys and their values as a cell."""
    poke_short(to, _QUOTE_BRACE)
    to += 2
    for other in range(count):
        if other > 0:
            poke_octet(to, ord(","))
            to += 1
        to = _doubled(to, others[0, other], others[2, other], False)
    poke_short(to, _BRACE_QUOTE)
    return to + 2


@compiled
def _read(at, end, names, names_at, row, row_of, following, value_starts, value_ends, others):
    """Find the values of an object's names, and its other keys: how many these are; -1 if it is not simple.

    Args:
        row_of: set to ``row`` for each name that is there.
        following: which name came last after none, and after each: it is looked for first.
        value_starts: set to where the value of each name begins, and ``value_ends`` to where it ends; of null
            nothing is kept.
        others: set to where each other key begins and ends, and its value ends.
    """
    fields = len(names_at) - 1
    if end - at < 2 or peek_octet(at) != ord("{"):
        return -1
    at += 1
    if peek_octet(at) == ord("}"):
        return 0 if at + 1 == end else -1
    before, count = 0, 0
    while True:
        if at >= end or peek_octet(at) != ord('"'):
            return -1
        key, field = at, -1
        for tried in range(-1 if fields else 0, fields):
            candidate = following[before] if tried < 0 else tried
            length = names_at[candidate + 1] - names_at[candidate]
            if at + length < end and _same(at + 1, names + names_at[candidate], length):
                field = candidate
                at += 1 + length
                break
        if field < 0:
            at = _after_key(at, end)
            if at < 0 or count == _MOST_OTHERS or _is_among(others, count, key, at):
                return -1
        elif row_of[field] == row:
            return -1
        if at >= end:
            return -1
        begin, first = at, peek_octet(at)
        at = _after_nested(at, end) if _is_opening(first) else _after_scalar(at, end)
        if at < 0 or at >= end:
            return -1
        if field < 0:
            others[0, count], others[1, count], others[2, count] = key, begin, at
            count += 1
        else:
            row_of[field] = row
            value_starts[field] = begin
            value_ends[field] = begin if first == ord("n") else at
            following[before] = field
            before = field + 1
        ending = peek_octet(at)
        at += 1
        if ending == ord("}"):
            return count if at == end else -1
        if ending != ord(","):
            return -1


@compiled
def _is_among(others, count, key, end):
    for other in range(count):
        if others[1, other] - others[0, other] == end - key and _same(key, others[0, other], end - key):
            return True
    return False


@compiled
def _after_key(at, end):
    """The address after a key and its colon; else -1."""
    if at >= end or peek_octet(at) != ord('"'):
        return -1
    at = _after_text(at + 1, end)
    return at + 1 if 0 <= at < end and peek_octet(at) == ord(":") else -1


@compiled
def _is_opening(octet):
    return octet == ord("{") or octet == ord("[")


@compiled
def _after_nested(at, end):
    """The address after an object or array; -1 if it is not one that any writer writes alike."""
    inside, depth = np.uint64(0), 0
    while at < end:
        opening = peek_octet(at)
        if _is_opening(opening):
            if depth == _DEEPEST or at + 1 >= end:
                return -1
            depth += 1
            inside = inside << _LOWEST | np.uint64(opening == ord("{"))
            at += 1
            if peek_octet(at) != opening + _TO_CLOSING:
                at = _after_key(at, end) if opening == ord("{") else at
                if at < 0:
                    return -1
                continue
        else:
            at = _after_scalar(at, end)
            if at < 0:
                return -1
        while depth > 0:
            if at >= end:
                return -1
            is_object = inside & _LOWEST != _NONE
            ending = peek_octet(at)
            at += 1
            if ending == ord(","):
                at = _after_key(at, end) if is_object else at
                if at < 0:
                    return -1
                break
            if ending != (ord("}") if is_object else ord("]")):
                return -1
            depth -= 1
            inside >>= _LOWEST
        if depth == 0:
            return at
    return -1


@compiled
def _after_scalar(at, end):
    first = peek_octet(at)
    if first == ord('"'):
        return _after_text(at + 1, end)
    if first == ord("t") or first == ord("n"):
        return at + 4
    return at + 5 if first == ord("f") else _after_number(at, end)


@compiled
def _same(one, other, length):
    at = 0
    while at + 8 <= length:
        if peek_word(one + at) != peek_word(other + at):
            return False
        at += 8
    while at < length:
        if peek_octet(one + at) != peek_octet(other + at):
            return False
        at += 1
    return True


@compiled
def _after_text(at, end):
    """The address after a text whose first quote is before ``at``; -1 if writers differ in its escapes."""
    while at < end:
        if at + 8 <= end:
            special = _specials(peek_word(at), False)
            if special == _NONE:
                at += 8
                continue
            at += zeros_below(special) >> 3
        octet = peek_octet(at)
        if octet == ord('"'):
            return at + 1
        if octet < ord(" "):
            return -1
        if octet == ord("\\"):
            at += 1
            if at >= end or not _UNESCAPED[peek_octet(at)]:
                return -1
        at += 1
    return -1


@compiled
def _is_digit(at, end):
    return at < end and ord("0") <= peek_octet(at) <= ord("9")


@compiled
def _after_number(at, end):
    """The address after a number of few digits, as brief as can be and without exponent; else -1."""
    is_negative = at < end and peek_octet(at) == ord("-")
    at += is_negative
    if not _is_digit(at, end):
        return -1
    begin = at
    while _is_digit(at, end):
        at += 1
    digits = at - begin
    is_zero = peek_octet(begin) == ord("0")
    if is_zero and digits > 1:
        return -1
    if at >= end or peek_octet(at) != ord("."):
        return -1 if digits > _EXACT_DIGITS or (is_zero and is_negative) else at
    begin = at + 1
    at = begin
    zeros = 0
    while _is_digit(at, end):
        if is_zero and peek_octet(at) == ord("0") and zeros == at - begin:
            zeros += 1
        at += 1
    decimals = at - begin
    if decimals == 0 or digits + decimals > _EXACT_DIGITS:
        return -1
    if decimals == 1 and peek_octet(begin) == ord("0"):
        return -1 if is_zero and is_negative else at
    return -1 if zeros > _FEW_ZEROS or peek_octet(at - 1) == ord("0") else at
