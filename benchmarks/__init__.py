"""Speeds as ratios: the workbench and a named peer in one run, taking turns, on one machine and one server.

These rules hold for every comparison:

- The payload is one typed file event, about 400 bytes in eventlib's envelope (`payload`). Raw redis-py sends the same
  bytes as eventlib. FastStream and taskiq take the same pydantic model as their message body.
- Consumers validate that model, run a handler that only notes the event, and acknowledge to a consumer group. The
  options that keep the work safe are on: eventlib's leases, sweeps and retries; FastStream's REJECT_ON_ERROR; taskiq's
  acknowledgement after the task ran. The clock runs from the start of the consumer, on a stream that is already full,
  until the server says that no entry is pending. A side that missed an event, handled one twice or left one pending has
  no speed (`evidence`).
- Each side is one process, and the server is another one, reached over TCP on the loopback. It is the server that
  `--url` names, as it is, or a private one, new for each round of a comparison (`server`). The private server has an
  append-only file that is synced every second, as in production, and is never rewritten. Rewrites came in every second
  turn of the comparisons that move much data, and cost that turn up to a third.
- A turn begins when the server has freed and synced what the turn before left (`server.calm`).
- Each side has its best documented settings. `faststream_peer` and `taskiq_peer` name and explain those of the peers.
  Both install uvloop and orjson. eventlib runs on plain asyncio, as in the README's example.
- The workbench and the peer take turns, and the first side changes from turn to turn. The ratio is the median of the
  turns' own ratios, because a machine that slows down slows both sides. The lowest and the highest ratio are shown too.
- If the machine drifts by more than the difference, a round has several short turns of each side. Every round goes
  through all comparisons, so that a busy time of the host does not affect only one of them.
- Publishing at once is much faster than one by one, so it moves five times as many events. Each begins with a thousand
  events that are not timed. Without them, the memory that a process has to get again, as after a second of waiting for
  a calm server, cost the bursts up to a seventh.
- Objects that were imported and built before a turn are exempt from garbage collection, so that no side pays for the
  modules of the other.

A target is printed with whether it was met. No speed makes the command fail.
"""
