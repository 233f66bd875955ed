"""Which role of a flow template plays FAAS, and which DAAS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def assign_roles(flavours: Mapping[str, str], names: Sequence[str]) -> dict[str, int]:
    """The indexes, in ``names``, of the roles that play FAAS and DAAS; ``flavours`` by these.

    By name, else named as the flavour, else by position; no role plays both.
    """
    upper = [name.upper() for name in names]
    indexes: dict[str, int] = {}

    def claim(role: str, candidates: Iterable[int]) -> None:
        free = (index for index in candidates if index not in indexes.values())
        if role not in indexes and (found := next(free, None)) is not None:
            indexes[role] = found

    def named(name: str) -> list[int]:
        return [index for index, known in enumerate(upper) if known == name.upper()]

    for role in flavours:
        claim(role, named(role))
    for role, flavour in flavours.items():
        claim(role, named(flavour))
    for position, role in enumerate(flavours):
        claim(role, [*range(len(names))[position : position + 1], *range(len(names))])
    return indexes
