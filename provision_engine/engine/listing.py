"""Which of the caller's runtimes are listed, and a page of them at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from provision_engine.engine.document import Runtime
from provision_engine.engine.specification import ROLES

Json = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a caller wants to see. Empty texts let everything through."""

    name: str = ""
    flavour: str = ""
    """A flavour tuple, or the flavour of one function."""
    state: str = ""
    """That of any function."""
    limit: int | None = None
    after: int = -1
    """Only runtimes with a greater id: pages stay right while others come and go."""

    def keeps(self, runtime: Runtime) -> bool:
        flavours = [f.flavour for f in runtime.functions.values()]
        return (
            runtime.id > self.after
            and self.name in ("", runtime.name)
            and self.flavour in ("", "-".join(flavours), *flavours)
        )

    def shows(self, body: Json) -> bool:
        states = [body[role]["STATE"] for role in ROLES if role in body]
        return not self.state or self.state in states

    def candidates(self, runtimes: Sequence[Runtime]) -> tuple[list[Runtime], int | None]:
        """Those to look at, in the order of ids; and the last one's id if more come after it.

        That is one page of them, or all where the states decide which ones are shown.
        """
        kept = sorted((r for r in runtimes if self.keeps(r)), key=lambda runtime: runtime.id)
        if self.state or self.limit is None or len(kept) <= self.limit:
            return kept, None
        page = kept[: self.limit]
        return page, page[-1].id

    def page(self, bodies: Sequence[Json], after: int | None) -> tuple[list[Json], int | None]:
        """The page, and the id after which the next one begins; None on the last.

        A page may be shorter than the limit where runtimes have just gone.
        """
        shown = [body for body in bodies if self.shows(body)]
        if self.limit is None or len(shown) <= self.limit:
            return shown, after
        page = shown[: self.limit]
        return page, page[-1]["ID"]
