"""One consumer of a service: the library's own loops in virtual time, which read, renew leases and take over."""

from collections.abc import Callable
from typing import cast

import simpy

from sim.declare.autoscale import LEAVE_S
from sim.worlds.simulated.batch_handlers import BatchHandlers
from sim.worlds.simulated.dependent_handlers import DependentHandlers
from sim.worlds.simulated.group import Group
from sim.worlds.simulated.handlers import Handlers
from sim.worlds.simulated.learned_handlers import LearnedBatchHandlers, LearnedHandlers
from sim.worlds.simulated.leases import Leases
from sim.worlds.simulated.link import ASKS, HANDS_OUT
from sim.worlds.simulated.process_state import ProcessState
from sim.worlds.simulated.run_state import Message
from sim.worlds.simulated.saga_group import SagaGroup
from sim.worlds.simulated.saga_handlers import SagaHandlers
from sim.worlds.simulated.takeover import Takeover

BLOCK_S = 1.0  # longest blocking read, as in the library
_NO_REPLY: list[Message] = []


class Consumer:
    """One consumer, from its start until it is killed or the run ends."""

    def __init__(self, group: Group, index: int) -> None:
        self.asked = 0  # COUNT of the read that it is blocked in
        self._group = group
        self._env = group.state.env
        self._machine = group.state.machine
        self._cpu = self._machine.process("consumer")
        self._process = ProcessState(self._env)
        self._held: dict[Message, None] = {}  # a set that keeps its order
        shared = (index, self._process, self._cpu, self._held, self._go_on)
        self._handlers = (
            SagaHandlers(group, *shared) if isinstance(group, SagaGroup) else _handlers(group)(group, *shared)
        )
        self._leases = Leases(group, self, self._held, self._process, self._handlers.note_lost)
        self._reading = False
        self._asked_at = 0.0  # when the read that it is blocked in began
        self._reply = _NO_REPLY  # what the read under way brings
        self._link = group.state.link
        self._takeover = Takeover(group, self, self._held, self._process, self._handlers, self._accept_taken_over)
        self._left: Callable[[], None] | None = None  # called when it is gone, once it was told to stop

    @property
    def killed(self) -> bool:
        return self._process.dead

    @property
    def leaving(self) -> bool:
        """Whether it was told to stop."""
        return self._left is not None

    def start(self) -> None:
        """Read and sweep from now on."""
        self._read()
        self._env.process(self._takeover.run())

    def receive(self, count: int) -> None:
        """The server hands out what has come, which wakes this consumer up."""
        messages, _ = self._take(count)  # what it has just appended it hands out at once, so that this does not wait
        after_s = self._group.state.append_late_s + self._cpu.woken_s("dispatch_s", self._env.now)
        self._reply_after(after_s, messages)

    def ask_again(self) -> None:
        """The server says that there is something, without handing it out: ask for it."""
        heard = self._env.timeout(self._cpu.woken_s("dispatch_s", self._env.now) + self._link.delay_s)
        heard.callbacks.append(self._ask)

    def _take(self, count: int) -> tuple[list[Message], float]:
        """What the server hands out is this consumer's from now on. Also how much later the server gets to it."""
        self._reply = messages = self._group.take(count, self)
        self._hold(messages)
        if self._process.halted:  # a read that was blocked before is served all the same
            self._leases.stop_for(messages)
        instant = self._machine.instant
        return messages, 0.0 if instant else self._machine.server.late_s(self._env.now, self._cpu, len(messages))

    def _reply_after(self, after_s: float, messages: list[Message]) -> None:
        """What the server hands out is here after this time, and later where the link is slow."""
        if not self._link.works:
            if self._link.loses_replies:  # it never hears of these messages, and asks again later
                self._reply = _NO_REPLY
                for message in messages:
                    del self._held[message]
                self._group.strand(messages)
                self._ask_at(self._link.heard_s(self._env.now))
                return
            after_s += self._link.delay_s + self._link.transfer_s(
                HANDS_OUT, len(messages), self._group.bodies(messages)
            )
        reply = self._env.timeout(after_s, messages)
        reply.callbacks.append(self._delivered)

    def _ask_at(self, at_s: float) -> None:
        asks = self._env.timeout(at_s - self._env.now)
        asks.callbacks.append(self._ask)

    def holds_taken_over(self) -> bool:
        """Whether it holds something that was taken over."""
        return bool(self._takeover.held())

    def note_taken_over(self, message: Message) -> None:
        """What it is handed out by a read was taken over: a suspect of a task queue."""
        self._takeover.note(message)

    def lose(self, message: Message) -> None:
        """Another consumer takes the message over. A suspended consumer finds that out when it goes on."""
        if self._process.dead:
            return
        del self._held[message]
        if self._reading and message in self._reply:
            self._reply.remove(message)  # it was never accepted here, so it is not noted as lost
        else:
            self._handlers.lose(message)

    def holds(self, message: Message) -> bool:
        """Whether the message is this consumer's."""
        return message in self._held

    # What a fault does to it

    def kill(self) -> None:
        """End it with SIGKILL: what it holds waits for the end of its lease."""
        if self._process.dead:
            return
        if self in self._group.blocked:
            self._group.blocked.remove(self)
        if not self._process.suspended:
            self._leases.stop()
        self._process.kill()

    def leave(self, left: Callable[[], None]) -> None:
        """Stop it: it ends what it handles, and gives the rest back. `left` is called when it is gone."""
        self._left = left
        if self in self._group.blocked:
            self._group.blocked.remove(self)
        self._handlers.leave()
        grace = self._env.timeout(LEAVE_S if self._handlers.running else 0.0)
        grace.callbacks.append(lambda _: self._give_back())

    def _give_back(self) -> None:
        """End, and give back what is held. Where the server cannot be reached, it waits for the end of its lease."""
        if self._process.dead or self._left is None:
            return
        self._leases.stop()
        self._process.kill()
        if self._link.works or not self._link.blocks(adds=True):
            self._group.give_back(self, self._held)
        self._left()

    def suspend(self) -> None:
        """Let it stand still: nothing of it runs, and what it holds is not renewed."""
        if self._process.halted:
            return
        self._leases.suspend()
        self._process.suspend()
        if self in self._group.blocked:
            self._end_block(self._process.resumption)

    def resume(self) -> None:
        """Let it go on: it does what was due meanwhile, and asks who owns the rest of what it held."""
        if not self._process.suspended:
            return
        self._process.resume()
        renewed = self._leases.resume()
        self._process.catch_up()
        if renewed:
            self._handlers.note_lost()
        self._read()

    def cut_off(self) -> None:
        """Its connections break, or nothing passes on them: it repeats what it has asked, and renews when it can."""
        if self._process.dead:
            return
        if self in self._group.blocked:
            self._group.blocked.remove(self)
            if self._process.suspended:
                self._reading = False  # it reads when it goes on
            else:
                self._ask_at(self._link.again_s())
        self._leases.cut_off()

    def forget(self) -> None:
        """The server has lost all that this consumer holds."""
        for message in list(self._held):
            self.lose(message)

    def _end_block(self, suspension: simpy.Event | None) -> None:
        """Let the read that is under way be the last one, if it is suspended or has no capacity then."""
        blocked_s = (self._env.now - self._asked_at) % BLOCK_S  # it asked again whenever a block had ended
        end = self._env.timeout(BLOCK_S - blocked_s, suspension)
        end.callbacks.append(self._end_read)

    def _end_read(self, end: simpy.Event) -> None:
        suspended = self._process.suspended and self._process.resumption is end.value
        if self in self._group.blocked and (suspended or (end.value is None and not self._handlers.room())):
            self._group.blocked.remove(self)
            self._reading = False

    # Reading

    def _go_on(self, after_s: float) -> None:
        """There is capacity for more, `after_s` from now; or none, because a circuit breaker has opened."""
        if self._left is not None and not self._handlers.running:
            self._give_back()
        if self._takeover.sweeps_on or self._takeover.taken_over:
            self._takeover.go_on()
        self._read(after_s)
        if self._handlers.gate is not None and self in self._group.blocked and not self._handlers.room():
            self._end_block(None)

    def _read(self, after_s: float = 0.0) -> None:
        """Ask for as much as there is capacity for, `after_s` from now; wait where there is nothing."""
        if self._reading or not (count := self._handlers.room()):
            return
        self._reading = True
        if self._link.works:
            self._request(count, after_s)
            return
        self._reply = _NO_REPLY
        at_s = self._link.arrives_s(self._env.now + after_s) + self._link.delay_s + self._link.transfer_s(ASKS, 0)
        arrives = self._env.timeout(at_s - self._env.now, count)
        arrives.callbacks.append(self._request_arrives)

    def _request_arrives(self, arrives: simpy.Event) -> None:
        """A request for entries has come over a link that is slow, or was down."""
        if self._process.halted or self._link.blocks():
            self._ask(arrives)
        else:
            self._request(cast(int, arrives.value), 0.0)

    def _request(self, count: int, after_s: float) -> None:
        """The server hands out what it has, or lets the consumer wait for it."""
        if self._group.has_work(self):
            messages, late_s = self._take(count)
            self._reply_after(after_s + late_s + self._cpu.takes_s("read_s"), messages)
        else:
            self.asked = count
            self._asked_at = self._env.now
            self._reply = _NO_REPLY
            self._group.blocked.append(self)

    def _ask(self, heard: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._ask, heard)
            return
        self._reading = False
        self._read()

    def _hold(self, messages: list[Message]) -> None:
        now = self._env.now
        for message in messages:
            message.read_at = now
            self._held[message] = None

    def _delivered(self, reply: simpy.Event) -> None:
        if self._process.halted:
            self._process.postpone(self._delivered, reply)
            return
        messages = cast(list[Message], reply.value)
        if self._left is not None:  # it gives them back when it is gone
            return
        self._handlers.add(messages, self._cpu.late_s(self._env.now, len(messages)))
        self._reading = False
        self._read()

    def _accept_taken_over(self, messages: list[Message]) -> None:
        self._hold(messages)
        self._handlers.add(messages)


def _handlers(group: Group) -> type[Handlers]:
    if group.service.app is not None:
        return LearnedHandlers if group.service.batch is None else LearnedBatchHandlers
    if group.service.batch is not None:
        return BatchHandlers
    return DependentHandlers if group.service.uses or group.service.timeout_s is not None else Handlers
