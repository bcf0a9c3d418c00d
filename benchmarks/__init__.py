"""Speeds as ratios: ours and a named peer in one run, taking turns, on one machine and one server.

What holds for every comparison:

- The payload is one typed file event, about 400 bytes in our envelope (`payload`). Raw redis-py sends the very bytes
  that we send; FastStream and taskiq take the same pydantic model as their message body.
- Consumers validate that model, run a handler that does nothing but note the event, and acknowledge to a consumer
  group, with what keeps the work safe switched on: our leases, sweeps and retries; FastStream's REJECT_ON_ERROR;
  taskiq's acknowledgement after the task ran. Time runs from starting the consumer on a stream that is already full
  until the server says that nothing is pending. A side that missed an event, handled one twice or left one pending has
  no speed (`evidence`).
- Each side is one process, and the server another one, reached over TCP on the loopback: a private one, new for each
  round of a comparison, with an append-only file that is synced every second, as in production, and never rewritten,
  for that came into every second turn of what moves much and cost whoever had the turn up to a third (`server`). Or the
  one that `--url` names, as it is.
- A turn begins when the server has freed and synced what the turn before left (`server.calm`).
- Each side has its best documented settings; `faststream_peer` and `taskiq_peer` name theirs and say why. Both
  install uvloop and orjson. Ours runs on plain asyncio, as the README's example does.
- Ours and the peer take turns, and who begins changes from turn to turn. The ratio is the median of the turns' own
  ratios, so that a machine that slows down slows both; the lowest and the highest stand beside it.
- Where the machine drifts by more than is compared, a round has several short turns of each side. Every round goes
  through all comparisons, so that some minutes of a busy host do not fall on one of them alone.
- Publishing at once, which is so much faster, moves five times as many events as one by one. Each begins with a
  thousand of the same kind that are not timed: memory that a process has to get anew, as after a second of waiting for
  a calm server, cost the bursts up to a seventh.
- What was imported and built before a turn is taken out of the garbage collector's rounds, so that neither side pays
  for the other's modules.

A target is printed with whether it was met, as a fact: nothing fails on a speed.
"""
