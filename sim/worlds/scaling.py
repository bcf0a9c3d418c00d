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

    def begin(self) -> None:
        """Scale from now on, until the tasks of the run are cancelled."""
        for name, service in self._scenario.services.items():
            if service.autoscale is not None:
                self._faults.begin(self._scale(name))

    async def _scale(self, name: str) -> None:
        rule, wanted = self._scenario.services[name].autoscale, self._faults.wanted
        assert rule is not None, "a service without a rule is not scaled"
        scaler, running, looks = Autoscaler(rule, wanted[name], 0.0), dict[int, PoolProcess | None](), 0
        running.update(dict.fromkeys(range(wanted[name])))
        while True:
            looks += 1
            await self._faults.sleep_until(looks * rule.every_s)
            if self._faults.is_cut_off:
                continue
            try:
                backlog = await self._backlog(name)
            except BrokerUnavailable:  # what cannot be seen is not acted on
                continue
            now_s = self._faults.now_s
            many = scaler.decide(float(backlog), wanted[name], now_s)
            if many != wanted[name]:
                wanted[name] = many
                self._note("scaled", name, -1, float(many))
            if any(fault.takes_out(name, now_s) for fault in self._scenario.faults):
                continue
            to_start, to_stop = moves(running, many)
            for index in to_start:
                running[index] = self._start(name, index)
            for index in to_stop:
                del running[index]
                self._faults.begin(self._stop(name, index))

    async def _stop(self, name: str, index: int) -> None:
        if self._pool.runs(f"{name} {index}"):  # else a fault has killed it
            await self._pool.stop(f"{name} {index}")
            self._note("left", name, index)
