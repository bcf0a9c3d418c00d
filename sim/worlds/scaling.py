"""Autoscaling live: consumer processes are started, and told to stop, as the rule of their service decides."""

from collections.abc import Awaitable, Callable

from eventlib import BrokerUnavailable
from sim.declare.autoscale import Autoscaler, moves
from sim.declare.scenario import Scenario
from sim.worlds.injecting import LiveFaults, Note
from sim.worlds.process_pool import PoolProcess, ProcessPool


class LiveScaling:
    """Keeps each service that has a rule at as many consumers as it calls for.

    `backlog` asks the server what a service has to do. `start` starts a process of a service. The numbers that are
    wanted are those of `faults`, which brings back no consumer beyond them.
    """

    def __init__(
        self,
        scenario: Scenario,
        pool: ProcessPool,
        faults: LiveFaults,
        start: Callable[[str, int], PoolProcess],
        note: Note,
        backlog: Callable[[str], Awaitable[int]],
    ) -> None:
        self._scenario = scenario
        self._pool = pool
        self._faults = faults
        self._start = start
        self._note = note
        self._backlog = backlog
        self._leaving: list[str] = []  # processes that were told to stop

    def begin(self) -> None:
        """Scale from now on, until the tasks of the run are cancelled."""
        for name, service in self._scenario.services.items():
            if service.autoscale is not None:
                self._faults.begin(self._scale(name))

    async def _scale(self, name: str) -> None:
        rule, wanted = self._scenario.services[name].autoscale, self._faults.wanted
        assert rule is not None, "a service without a rule is not scaled"
        scaler, present, looks = Autoscaler(rule, wanted[name], 0.0), set(range(wanted[name])), 0
        while True:
            looks += 1
            due_s = looks * rule.every_s
            await self._faults.sleep_until(due_s)
            if self._faults.is_cut_off:
                continue
            try:
                backlog = await self._backlog(name)
            except BrokerUnavailable:  # what cannot be seen is not acted on
                continue
            # The time that it really is would decide, by chance, whether a window still has its first look.
            many = scaler.decide(float(backlog), wanted[name], due_s)
            if many != wanted[name]:
                wanted[name] = many
                self._note("scaled", name, -1, float(many))
            if any(fault.takes_out(name, self._faults.now_s) for fault in self._scenario.faults):
                continue
            to_start, to_stop = moves(present, many)
            for index in to_start:
                self._start_if_gone(name, index)
            for index in to_stop:
                self._faults.begin(self._stop(name, index))
            present = set(range(many))

    def _start_if_gone(self, name: str, index: int) -> None:
        """Start a process, unless the end of an outage has: it brings back all that are wanted by then."""
        process = f"{name} {index}"
        if process in self._leaving or not self._pool.runs(process):
            self._start(name, index)

    async def _stop(self, name: str, index: int) -> None:
        process = f"{name} {index}"
        if self._pool.runs(process):  # else a fault has killed it
            self._leaving.append(process)
            await self._pool.stop(process)
            self._leaving.remove(process)
            self._note("left", name, index)
