"""What one process caches of OpenNebula, separately for each user."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from provision_engine.cloud.client import Credentials
from provision_engine.engine import cache as cache_module
from provision_engine.engine.cache import Cache
from provision_engine.errors import BackendTimeout

ME, OTHER = Credentials("devuser", "devpass"), Credentials("other", "otherpass")


def test_each_user_and_password_has_its_own_entries() -> None:
    cache = Cache(10)
    loads: list[str] = []

    def get(credentials: Credentials) -> str:
        def load() -> str:
            loads.append(credentials.session)
            return credentials.session

        return cache.get(credentials, "key", load)

    wrong = Credentials("devuser", "wrong")
    for credentials in (ME, OTHER, wrong, ME, OTHER, wrong):
        assert get(credentials) == credentials.session
    assert loads == [ME.session, OTHER.session, wrong.session]


def test_an_expired_entry_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(cache_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    cache, values = Cache(10), iter(range(10))
    seen = []
    for at in (0, 9.9, 10.1, 20.0, 20.2):
        now[0] = 1000 + at
        seen.append(cache.get(ME, "key", lambda: next(values)))
    assert seen == [0, 0, 1, 1, 2]


def test_nothing_is_cached_if_the_time_is_zero() -> None:
    cache, values = Cache(0), iter(range(10))
    assert [cache.get(ME, "key", lambda: next(values)) for _ in range(3)] == [0, 1, 2]


def test_a_failure_is_not_cached() -> None:
    cache = Cache(10)

    def fail() -> int:
        raise BackendTimeout("slow")

    with pytest.raises(BackendTimeout):
        cache.get(ME, "key", fail)
    assert cache.get(ME, "key", lambda: 7) == 7


def test_only_that_user_s_entries_are_removed() -> None:
    cache = Cache(10)
    for whose in (ME, OTHER):
        cache.get(whose, "key", lambda: "old")
    cache.forget(ME)
    assert cache.get(ME, "key", lambda: "new") == "new"
    assert cache.get(OTHER, "key", lambda: "new") == "old"


def test_the_number_of_entries_is_limited() -> None:
    cache = Cache(10, max_entries=2)
    for key in ("a", "b", "c"):
        cache.get(ME, key, lambda: "old")
    assert cache.get(ME, "c", lambda: "new") == "old"
    assert cache.get(ME, "a", lambda: "new") == "new"


def test_many_threads_may_use_it_at_once() -> None:
    cache, wrong = Cache(10, max_entries=8), []

    def work(number: int) -> None:
        for step in range(200):
            key = str((number + step) % 16)
            if cache.get(ME, key, lambda key=key: key) != key:
                wrong.append(key)
            if step % 50 == 0:
                cache.forget(ME)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_it_stores_no_password() -> None:
    cache = Cache(10)
    cache.get(ME, "key", lambda: 1)
    assert "devpass" not in str(vars(cache))


def test_hits_and_misses_are_counted() -> None:
    looks: list[bool] = []
    cache = Cache(10, looks.append)
    for key in ("a", "a", "b", "a"):
        cache.get(ME, key, lambda: 1)
    assert looks == [False, True, False, True]
