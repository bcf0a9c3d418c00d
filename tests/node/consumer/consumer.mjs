// One consumer of one group on one stream, as docs/wire-format.md asks of it. It handles one entry at a time, to be read
// rather than to be fast; only the renewal of leases runs beside the handler.

import { setTimeout as sleep } from "node:timers/promises";
import { BadEntry, connect } from "./wire.mjs";

const BLOCK_MS = 500;
const PROMOTE_LIMIT = 100;
const SWEEP_COUNT = 16;

export class Consumer {
  /** `handle(envelope, attempt)` returns when the event is handled, and throws when the attempt failed. */
  constructor({ url, keys, group, name, scripts, envelopes, handle, handler, retry, leaseMs, tell }) {
    Object.assign(this, { keys, group, name, scripts, envelopes, handle, handler, retry, leaseMs, tell });
    this.redis = connect(url);
    this.reader = connect(url); // a connection of its own: it blocks
    this.held = new Map();
    this.sweepAt = 0;
    this.stopping = false;
  }

  async run() {
    await this.#steadily(() => this.#join());
    const renewal = this.#renewSteadily();
    this.tell("ready");
    while (!this.stopping) {
      await this.#steadily(async () => {
        const nextMs = await this.#promote();
        this.#hold(await this.#sweep());
        if (this.held.size === 0) this.#hold(await this.#read(nextMs));
      });
      for (const entry of [...this.held.values()]) {
        if (!this.stopping && !entry.lost) await this.#process(entry);
        this.held.delete(entry.key);
      }
    }
    await renewal;
    await this.#steadily(() => this.scripts.run(this.redis, "leave", this.keys, this.group, this.name));
    this.redis.disconnect();
    this.reader.disconnect();
  }

  stop() {
    this.stopping = true;
  }

  // The group begins where it stopped, if it ever was; else at the very beginning.
  #join() {
    return this.scripts.run(this.redis, "join", this.keys, this.group);
  }

  async #read(nextMs) {
    const block = Math.max(1, nextMs < 0 ? BLOCK_MS : Math.min(BLOCK_MS, nextMs)); // 0 would be for ever
    const { retry, stream } = this.keys;
    const command = ["GROUP", this.group, this.name, "COUNT", 1, "BLOCK", block, "STREAMS", retry, stream, ">", ">"];
    const reply = (await this.reader.callBuffer("XREADGROUP", ...command)) ?? [];
    return reply.flatMap(([key, entries]) =>
      entries.map(([id, fields]) => entryOf(key.toString() === retry, id, fields, 1)),
    );
  }

  async #sweep() {
    if (Date.now() < this.sweepAt) return [];
    this.sweepAt = Date.now() + this.leaseMs / 2;
    const args = [this.group, this.name, this.leaseMs, SWEEP_COUNT, this.leaseMs / 2, "", 0, this.retry.attempts, 1];
    const [, taken] = await this.scripts.run(this.redis, "sweep", this.keys, ...args);
    return taken.map(([source, id, fields, deliveries]) => entryOf(source === 2, id, fields, deliveries));
  }

  async #promote() {
    const [, nextMs] = await this.scripts.run(this.redis, "promote", this.keys, PROMOTE_LIMIT, "", 0);
    return nextMs;
  }

  #hold(entries) {
    for (const entry of entries) this.held.set(entry.key, entry);
  }

  async #process(entry) {
    const attempt = entry.attempts + entry.deliveries;
    let envelope;
    try {
      envelope = this.envelopes.open(entry.fields.get("event"));
      if (envelope === null) return await this.#ack(entry); // not for this group
      if (attempt > this.retry.attempts) {
        return await this.#toDeadLetters(entry, envelope, 0, new BadEntry("poison", "it outlived its consumers"));
      }
      this.tell("started", { id: envelope.id, type: envelope.type, attempt });
      await this.handle(envelope, attempt);
    } catch (error) {
      if (error instanceof BadEntry) return await this.#toDeadLetters(entry, envelope, 1, error);
      if (attempt >= this.retry.attempts) {
        return await this.#toDeadLetters(entry, envelope, 1, Object.assign(error, { reason: "exhausted" }));
      }
      return await this.#retry(entry, envelope, attempt);
    }
    this.tell("handled", { id: envelope.id, type: envelope.type, attempt, data: envelope.data });
    await this.#ack(entry);
  }

  async #ack(entry) {
    const ids = entry.retried ? [0, 1, entry.id, entry.origin] : [1, entry.id, 0];
    await this.#steadily(() => this.scripts.run(this.redis, "ack", this.keys, this.group, this.name, ...ids));
  }

  async #retry(entry, envelope, attempt) {
    const args = [this.group, this.name, entry.id, entry.origin, 1, this.retry.delayMs, "", 0];
    const kept = await this.#steadily(() => this.scripts.run(this.redis, "retry", this.#keysOf(entry), ...args));
    this.tell(kept === 0 ? "lost" : "retried", { id: envelope.id, attempt });
  }

  async #toDeadLetters(entry, envelope, counts, error) {
    const why = { reason: error.reason, error: error.message, handler: this.handler, consumer: this.name };
    const args = [this.group, this.name, entry.id, counts, "origin", entry.origin, ...Object.entries(why).flat()];
    const kept = await this.#steadily(() => this.scripts.run(this.redis, "to_dead_letters", this.#keysOf(entry), ...args));
    this.tell(kept === 0 ? "lost" : "dead", { id: envelope?.id, reason: error.reason, error: error.message });
  }

  #keysOf(entry) {
    return { ...this.keys, source: entry.retried ? this.keys.retry : this.keys.stream };
  }

  // Leases are renewed while the handler works. An entry that was taken over is not handled.
  async #renewSteadily() {
    while (!this.stopping || this.held.size > 0) {
      await sleep(Math.min(this.leaseMs / 3, BLOCK_MS));
      await this.#steadily(async () => {
        for (const retried of [false, true]) {
          const held = [...this.held.values()].filter((entry) => entry.retried === retried);
          if (held.length === 0) continue;
          const args = [this.group, this.name, ...held.map((entry) => entry.id)];
          const lost = await this.scripts.run(this.redis, "renew", this.#keysOf(held[0]), ...args);
          for (const entry of held) entry.lost ||= lost.some((id) => id.toString() === entry.id);
        }
      });
    }
  }

  // All that goes through here is safe to repeat. A read whose reply is lost leaves entries that the sweep brings back.
  async #steadily(call) {
    for (let waitMs = 50; ; waitMs = Math.min(2 * waitMs, 2000)) {
      try {
        return await call();
      } catch (error) {
        this.tell("waiting", { error: error.message });
        await sleep(waitMs * (0.5 + Math.random() / 2));
        if (error.message.includes("NOGROUP")) await this.#steadily(() => this.#join());
      }
    }
  }
}

function entryOf(retried, idBytes, pairs, deliveries) {
  const id = idBytes.toString();
  const fields = new Map();
  for (let i = 0; i < (pairs ?? []).length; i += 2) fields.set(pairs[i].toString(), pairs[i + 1]);
  return {
    key: `${retried ? "retry" : "stream"} ${id}`,
    id,
    retried,
    fields,
    deliveries,
    attempts: retried ? Number(fields.get("attempts")) : 0,
    origin: retried ? fields.get("origin").toString() : id,
    lost: false,
  };
}
