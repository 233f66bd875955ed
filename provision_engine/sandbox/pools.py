"""Pools: objects by id, by owner and by kind.

Listing an id range or a page costs as much as the objects listed, not as the whole pool.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from provision_engine.sandbox import errors
from provision_engine.sandbox.errors import OneError
from provision_engine.sandbox.objects import Group, Owned, User
from provision_engine.sandbox.permissions import listed

T = TypeVar("T", bound=Owned)
EVERYTHING = -1
OWN, USABLE, OWN_AND_GROUP, GROUP = -3, -2, -1, -4
"""Filter flags of pool calls; 0 and above are user ids."""


class _Index(Generic[T]):
    """Objects in the order of their ids, with quick access to a range."""

    def __init__(self) -> None:
        self.items: dict[int, T] = {}
        self._ids: list[int] = []

    def add(self, item: T) -> None:
        """Adds an object, unless it is there already."""
        if item.id not in self.items:
            self.items[item.id] = item
            insort(self._ids, item.id)

    def discard(self, item: T) -> None:
        """Removes an object, if it is there."""
        if self.items.pop(item.id, None) is not None:
            del self._ids[bisect_left(self._ids, item.id)]

    def oldest_first(self) -> Iterator[T]:
        """All objects."""
        return (self.items[number] for number in self._ids)

    def newest_first(self, first: int, last: int | None) -> Iterator[T]:
        """The objects with ids from `first` to `last` (None: to the end)."""
        low = bisect_left(self._ids, first)
        high = len(self._ids) if last is None else bisect_right(self._ids, last)
        return (self.items[self._ids[position]] for position in range(high - 1, low - 1, -1))


class _Source(NamedTuple, Generic[T]):
    """Objects, and a filter that selects those a user may list."""

    objects: _Index[T]
    is_listed: Callable[[T], bool] = lambda _: True


class Pool(Generic[T]):
    """Objects by id, shelf, owner, group and name, and those shared with group or all users."""

    def __init__(self, item_type: type[T], next_id: int = 0) -> None:
        self.noun = item_type.noun
        self.next_id = next_id
        self.lists_oldest_first = False
        """API_LIST_ORDER of oned.conf is ASC."""
        self.shows_group_whole = False
        """Does the filter of the primary group ignore permissions?"""
        self._by_id: dict[int, T] = {}
        self._by_shelf: dict[int, _Index[T]] = {}
        self._by_owner: dict[tuple[int, int], _Index[T]] = {}
        self._by_group: dict[tuple[int, int], _Index[T]] = {}
        self._shared: dict[int, _Index[T]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def new_id(self) -> int:
        """The next id; ids are never reused."""
        self.next_id += 1
        return self.next_id - 1

    def add(self, item: T) -> T:
        """Adds an object."""
        self._by_id[item.id] = item
        self._by_shelf.setdefault(item.shelf, _Index()).add(item)
        self._by_owner.setdefault((item.shelf, item.uid), _Index()).add(item)
        self._by_group.setdefault((item.shelf, item.gid), _Index()).add(item)
        self.permissions_changed(item)
        return item

    def permissions_changed(self, item: T) -> None:
        """Updates the index of shared objects."""
        shared = self._shared.setdefault(item.shelf, _Index())
        if item.permissions[3] or item.permissions[6]:
            shared.add(item)
        else:
            shared.discard(item)

    def give(self, item: T, user: User | None, group: Group | None) -> None:
        """Gives an object to another user or group, or to both."""
        self.remove(item)
        if user is not None:
            item.uid, item.uname = user.id, user.name
        if group is not None:
            item.gid, item.gname = group.id, group.name
        item.changed()
        self.add(item)

    def remove(self, item: T) -> None:
        """Removes an object."""
        del self._by_id[item.id]
        self._by_shelf[item.shelf].discard(item)
        self._by_owner[item.shelf, item.uid].discard(item)
        self._by_group[item.shelf, item.gid].discard(item)
        self._shared[item.shelf].discard(item)

    def find(self, object_id: int) -> T | None:
        """The object with that id, or None."""
        return self._by_id.get(object_id)

    def get(self, object_id: int) -> T:
        """The object with that id; 0x0400 if it does not exist."""
        item = self._by_id.get(object_id)
        if item is None:
            raise errors.no_such(self.noun, object_id)
        return item

    def named(self, name: str, uid: int | None = None) -> T | None:
        """The first object of that name (and of that owner), or None."""
        same = (i for i in self._by_id.values() if i.name == name and uid in (None, i.uid))
        return next(same, None)

    def all(self, shelf: int = 0) -> Iterable[T]:
        """All objects of a shelf, the oldest first."""
        return self._by_shelf.get(shelf, _Index()).oldest_first()

    def select(self, user: User, filter_flag: int, start: int, end: int, shelf: int = 0) -> list[T]:
        """What a pool call lists: the newest first (scenarios documents and pool-ranges), or the
        oldest.

        `filter_flag` is -1 for the objects of the user and the user's groups, -2 for all that the
        user may use, -3 for the user's own, -4 for those of the primary group, or a user id. An
        `end` below -1 requests a page: `start` objects are skipped and up to -`end` returned.
        Otherwise the two are the first and the last id, and -1 means no limit.
        """
        if filter_flag < GROUP:
            raise OneError(errors.XML_RPC_API, "Incorrect filter_flag")
        if end < EVERYTHING:
            start = max(0, start)
            found = self._ordered(self._visible(user, filter_flag, shelf, 0, None))
            return list(islice(found, start, start - end))
        last = None if end == EVERYTHING or start == EVERYTHING else end
        return list(self._ordered(self._visible(user, filter_flag, shelf, start, last)))

    def _ordered(self, newest_first: Iterator[T]) -> Iterator[T]:
        return reversed(list(newest_first)) if self.lists_oldest_first else newest_first

    def _visible(
        self, user: User, filter_flag: int, shelf: int, first: int, last: int | None
    ) -> Iterator[T]:
        parts = [
            filter(source.is_listed, source.objects.newest_first(first, last))
            for source in self._sources(user, filter_flag, shelf)
        ]
        return heapq.merge(*parts, key=lambda item: -item.id) if len(parts) > 1 else parts[0]

    def _sources(self, user: User, filter_flag: int, shelf: int) -> list[_Source[T]]:
        """The indexes to search for what that user may list; no object occurs twice."""
        own = _Source(self._by_owner.get((shelf, user.id), _Index()))
        if filter_flag in (OWN, user.id):
            return [own]
        if filter_flag >= 0:
            owned = self._by_owner.get((shelf, filter_flag), _Index())
            return [_Source(owned, lambda item: listed(user, item))]
        if filter_flag == GROUP:
            of_group = self._by_group.get((shelf, user.gid), _Index())
            return [_Source(of_group, lambda item: self.shows_group_whole or listed(user, item))]
        others = self._others(user, shelf)
        if filter_flag == USABLE:
            return [own, _Source(others, lambda i: i.uid != user.id and listed(user, i))]
        return [own, _Source(others, lambda i: i.uid != user.id and _is_of_groups(user, i))]

    def _others(self, user: User, shelf: int) -> _Index[T]:
        return (self._by_shelf if user.is_admin else self._shared).get(shelf, _Index())


def _is_of_groups(user: User, item: Owned) -> bool:
    return item.gid in user.groups and listed(user, item)
