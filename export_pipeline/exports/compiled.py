"""Functions over bytes that Numba compiles to machine code: for what has to be done with each row.

Owns how they are compiled and how they reach memory; what they do is written where it belongs. Numba takes
70 MB and a quarter of a second to import, so modules with such functions are imported where rows are at hand.
Compiled code is kept beside the source, or in the user's cache, until the file it stands in changes;
functions that call each other stand in one file.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """``function`` as machine code, which lets other threads run meanwhile; indexes are not checked."""
    for cache in (True, False):
        try:
            return cast(F, numba.njit(nogil=True, cache=cache)(function))
        except RuntimeError:  # there is no folder to keep it in
            if not cache:
                raise
    raise AssertionError


def _loading(kind: Any) -> Any:
    def load(_context: Any, octets: Any, at: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            place = builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [arguments[1]])
            place = builder.bitcast(place, context.get_value_type(kind).as_pointer())
            return builder.load(place, align=1)

        return kind(octets, types.intp), code

    return intrinsic(load)


octet = _loading(types.uint8)
"""``octet(octets, at)``: the byte at a place of an array of bytes."""

word = _loading(types.uint64)
"""``word(octets, at)``: the eight bytes from a place of an array of bytes on, the first one lowest."""


def _looking(_context: Any, octets: Any, at: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        sixteen = ir.VectorType(ir.IntType(8), 16)
        place = builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [arguments[1]])
        found = builder.load(builder.bitcast(place, sixteen.as_pointer()), align=1)
        quote, backslash, blank = (ir.Constant(sixteen, [ord(each)] * 16) for each in '"\\ ')
        special = builder.or_(
            builder.icmp_unsigned("<", found, blank),
            builder.or_(
                builder.icmp_unsigned("==", found, quote), builder.icmp_unsigned("==", found, backslash)
            ),
        )
        return builder.zext(builder.bitcast(special, ir.IntType(16)), ir.IntType(64))

    return types.uint64(octets, types.intp), code


specials: Any = intrinsic(_looking)
"""``specials(octets, at)``: a bit for each of sixteen bytes of an array, the first one lowest: whether it is
a quote, a backslash or a control character."""


def _counting(_context: Any, value: Any) -> Any:
    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), code


zeros_below: Any = intrinsic(_counting)
"""``zeros_below(value)``: how many bits below the lowest one of ``value`` are zero; ``value`` is not 0."""


def _peeking(kind: Any) -> Any:
    def peek(_context: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
            return builder.load(place, align=1)

        return kind(types.int64), code

    return intrinsic(peek)


peek_octet = _peeking(types.uint8)
"""``peek_octet(address)``: the byte at an address."""

peek_int = _peeking(types.int32)
"""``peek_int(address)``: the four bytes from an address on, as a number."""

peek_long = _peeking(types.int64)
"""``peek_long(address)``: the eight bytes from an address on, as a number."""

peek_word = _peeking(types.uint64)
"""``peek_word(address)``: the eight bytes from an address on, the first one lowest."""


def _poking(kind: Any) -> Any:
    def poke(_context: Any, address: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
            builder.store(context.cast(builder, arguments[1], signature.args[1], kind), place, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, value), code

    return intrinsic(poke)


poke_octet, poke_short, poke_int, poke_word = map(
    _poking, (types.uint8, types.uint16, types.uint32, types.uint64)
)
"""``poke_octet(address, value)``: set the byte, or the two, four or eight bytes, from an address on."""


def _moving(octets: int) -> Any:
    def move(_context: Any, to: Any, source: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            block = ir.VectorType(ir.IntType(8), octets).as_pointer()
            target, origin = (builder.inttoptr(argument, block) for argument in arguments)
            builder.store(builder.load(origin, align=1), target, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), code

    return intrinsic(move)


move_four, move_eight, move_sixteen = map(_moving, (4, 8, 16))
"""``move_four(to, source)``: copy as many bytes from one address to another."""
