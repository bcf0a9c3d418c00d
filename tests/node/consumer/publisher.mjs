// Two ways to publish, as docs/wire-format.md describes them.

import { randomBytes } from "node:crypto";

/** Append one event, in one command. Sent again after a lost reply, it would be there twice. */
export function append(redis, keys, body) {
  return redis.xadd(keys.stream, "*", "event", body);
}

const PRODUCER_TTL_MS = 3_600_000;

/** Appends numbered batches. A batch that is sent again with the same number is appended once. */
export class Publisher {
  constructor(redis, scripts, keys) {
    this.redis = redis;
    this.scripts = scripts;
    this.keys = { ...keys, producer: keys.producer(randomBytes(8).toString("hex")) };
    this.next = 1;
    this.unanswered = false;
  }

  /** Number a batch. Send one batch at a time, in order, as often as it takes. */
  number(bodies) {
    const batch = { first: this.next, bodies };
    this.next += bodies.length;
    return batch;
  }

  /** Returns how many were appended: none of those that an earlier try appended. */
  async send({ first, bodies }) {
    try {
      return await this.scripts.run(this.redis, "publish", this.keys, first, PRODUCER_TTL_MS, "", ...bodies);
    } catch (error) {
      this.unanswered = true; // it may still be on its way
      throw error;
    }
  }

  /** Nothing will be repeated any more. */
  async close() {
    if (!this.unanswered) await this.redis.del(this.keys.producer);
  }
}
