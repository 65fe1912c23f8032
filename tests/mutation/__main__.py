"""`python -m tests.mutation FILE.. --tests PATH..`: which small wrong changes of files no test notices.

The tests run once as they are, to learn which of them enter which function. Then each mutant runs in a fork
of that process, so nothing is imported anew, with the tests that enter its function, the quickest first,
until one fails. Servers that the tests stand on are those of the first run. A mutant that makes tests take
ten times as long is noticed too.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import resource
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from .mutants import Mutant, mutants_of

_ROOT = Path(__file__).parents[2]
_Key = tuple[str, str, int]  # file, qualified name, first line
_SURVIVED, _NOTICED = 0, 1


def key_of(code: CodeType) -> _Key:
    """What names a function's code."""
    return code.co_filename, code.co_qualname, code.co_firstlineno


class _Next:
    """What pytest is told comes after each test: something that needs what the session holds, such as
    servers, and nothing else."""

    def __init__(self, session: pytest.Session) -> None:
        self.session = session

    def listchain(self) -> list[pytest.Session]:
        """The session alone."""
        return [self.session]


@dataclass
class Run:
    """A pytest plugin that takes the place of its loop over the tests."""

    files: list[Path]
    jobs: int
    survivors: list[Mutant] = field(default_factory=list)
    counts: dict[str, list[int]] = field(default_factory=dict)  # a file: mutants, noticed
    broken: list[str] = field(default_factory=list)  # tests that fail without any change
    took: dict[Any, float] = field(default_factory=dict)
    enter: dict[_Key, list[Any]] = field(default_factory=lambda: defaultdict(list))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The tests once, then each mutant in a fork."""
        watched = {str(path) for path in self.files}
        for item in session.items:
            self._learn(item, watched)
        if not self.broken:
            gc.freeze()
            self._try_unchanged(session.items)
            self._try_all()
        return True

    def _learn(self, item: Any, watched: set[str]) -> None:
        entered: set[_Key] = set()

        def note(frame: FrameType, event: str, _arg: object) -> None:
            if event == "call" and frame.f_code.co_filename in watched:
                entered.add(key_of(frame.f_code))

        began = time.process_time()
        sys.setprofile(note)
        passed = _passes(item)
        sys.setprofile(None)
        self.took[item] = time.process_time() - began
        if not passed:
            self.broken.append(item.nodeid)
        for key in entered:
            self.enter[key].append(item)

    def _try_all(self) -> None:
        waiting: dict[int, tuple[Mutant, list[Any], int]] = {}
        for mutant in self._mutants():
            self.counts.setdefault(mutant.path, [0, 0])[0] += 1
            items = self.enter.get(
                (str(_ROOT / mutant.path), mutant.function, mutant.first_line), []
            )
            if len(waiting) == self.jobs:
                self._reap(waiting)
            items.sort(key=self.took.__getitem__)
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                _die_trying(mutant, items, self.took, writer)
            os.close(writer)
            waiting[pid] = mutant, items, reader
        while waiting:
            self._reap(waiting)

    def _try_unchanged(self, items: list[Any]) -> None:
        """What fails in a fork as it is would notice every mutant, and tell nothing."""
        pid = os.fork()
        if pid == 0:
            failed = [item for item in items if not _passes(item)]
            os._exit(_NOTICED if failed else _SURVIVED)
        _, status = os.waitpid(pid, 0)
        if status != 0:
            raise RuntimeError("a test that passed once fails when it runs in a fork")

    def _mutants(self) -> list[Mutant]:
        return [
            mutant
            for path in self.files
            for mutant in mutants_of(path, named=str(path.relative_to(_ROOT)))
        ]

    def _reap(self, waiting: dict[int, tuple[Mutant, list[Any], int]]) -> None:
        pid, status = os.wait()
        mutant, items, reader = waiting.pop(pid)
        killer = os.read(reader, 16)
        os.close(reader)
        if killer:  # likely to notice its neighbours too
            self.took[items[int(killer)]] *= 0.9
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == _SURVIVED:
            self.survivors.append(mutant)
            where = f"{mutant.path}:{mutant.line} {mutant.function}"
            assert sys.__stderr__ is not None, "a terminal program"
            sys.__stderr__.write(f"survives {where}: {mutant.change}\n")
        else:
            self.counts[mutant.path][1] += 1


def _passes(item: Any) -> bool:
    after: Any = _Next(item.session)
    reports = runtestprotocol(item, log=False, nextitem=after)
    return all(report.passed for report in reports)


def _die_trying(mutant: Mutant, items: list[Any], took: dict[Any, float], writer: int) -> None:
    """Never comes back: ends the fork with what came of the mutant."""
    seconds = int(10 * sum(took[item] for item in items)) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        _put_in(mutant)
        for number, item in enumerate(items):
            if not _passes(item):
                os.write(writer, str(number).encode())
                os._exit(_NOTICED)
    except BaseException:  # whatever it is, it was noticed
        os._exit(_NOTICED)
    os._exit(_SURVIVED)


def _put_in(mutant: Mutant) -> None:
    """Change the function wherever it is held, and forget what it answered before."""
    gc.unfreeze()
    for each in gc.get_objects():
        if isinstance(each, functools._lru_cache_wrapper):
            each.cache_clear()
        elif isinstance(each, FunctionType):
            code = each.__code__
            if key_of(code) == (mutant.code.co_filename, mutant.function, mutant.first_line):
                each.__code__ = mutant.code


def main() -> int:
    """Print the survivors as they are found, and a line of JSON a file; 1 when tests fail unchanged."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("files", nargs="+", type=lambda name: (_ROOT / name).resolve())
    parser.add_argument("--tests", nargs="+", required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--examples", type=int, default=50)
    asked = parser.parse_args()
    # The same examples each time, and no time spent on the smallest one that fails.
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile(
        "mutation",
        max_examples=asked.examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutation")
    run = Run(asked.files, asked.jobs)
    pytest.main(["-q", "-p", "no:cacheprovider", "--capture=sys", *asked.tests], plugins=[run])
    for nodeid in run.broken:
        sys.stderr.write(f"fails without any change: {nodeid}\n")
    for path, (made, noticed) in run.counts.items():
        score = round(100 * noticed / made, 1)
        sys.stdout.write(
            json.dumps({"file": path, "mutants": made, "noticed": noticed, "score": score}) + "\n"
        )
    return 1 if run.broken else 0


if __name__ == "__main__":
    sys.exit(main())
