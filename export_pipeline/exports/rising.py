"""Whether rows rise (contract, section 3: by instant, then by the bytes of ``eventId``): compiled."""

from export_pipeline.exports.compiled import compiled, octet
from export_pipeline.exports.grammar import Longs, Octets


@compiled
def rise(octets: Octets, us: Longs, ids: Longs, id_ends: Longs, unsure: int) -> bool:
    """Whether each row is after the one before it, by instant and the bytes of its id.

    False too if that depends on an id that begins with ``unsure``.
    """
    for row in range(1, len(us)):
        if us[row] > us[row - 1]:
            continue
        if us[row] < us[row - 1]:
            return False
        before, at = ids[row - 1], ids[row]
        end = min(id_ends[row], at + id_ends[row - 1] - before)
        if octet(octets, before) == unsure or octet(octets, at) == unsure:
            return False
        while at < end and octet(octets, at) == octet(octets, before):
            at += 1
            before += 1
        if at == end:
            if at == id_ends[row]:
                return False
        elif octet(octets, at) < octet(octets, before):
            return False
    return True
