// What docs/wire-format.md says, as code: the connection, the keys, the scripts, the envelope.

import { createHash, randomUUID } from "node:crypto";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { Redis } from "ioredis";

/** A connection that never sends a command twice by itself: a repeated XADD or XREADGROUP is not harmless. */
export function connect(url) {
  const redis = new Redis(url.replace(/^unix:\/\//, ""), {
    protocol: 2,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
  });
  redis.on("error", () => {}); // whoever sends a command is told
  return redis;
}

export function keysOf(namespace, stream, group) {
  const prefix = `${namespace}:{${stream}}`;
  const of = (name) => `${prefix}:group:${group}:${name}`;
  const names = ["retry", "delayed", "dlq", "edits", "sweep", "heads", "lanes"];
  return {
    stream: `${prefix}:events`,
    producer: (producer) => `${prefix}:producer:${producer}`,
    ...Object.fromEntries(names.map((name) => [name, of(name)])),
  };
}

/** The scripts as eventlib ships them: `texts` by name. Each names its KEYS in its header. */
export class Scripts {
  constructor(texts) {
    this.scripts = new Map(
      Object.entries(texts).map(([name, text]) => [
        name,
        { text, sha: createHash("sha1").update(text).digest("hex"), keys: keyNames(text) },
      ]),
    );
  }

  /** Run a script with the keys that it names and these arguments; the reply holds Buffers. */
  async run(redis, name, keys, ...args) {
    const { text, sha, keys: names } = this.scripts.get(name);
    const rest = [names.length, ...names.map((key) => keys[key] ?? missing(name, key)), ...args];
    try {
      return await redis.callBuffer("EVALSHA", sha, ...rest);
    } catch (error) {
      if (!error.message.startsWith("NOSCRIPT")) throw error;
      return await redis.callBuffer("EVAL", text, ...rest);
    }
  }
}

function keyNames(text) {
  const [, list] = text.match(/^-- KEYS +(.*?)(?: {2,}ARGV.*)?$/m);
  return list
    .replace(/\(.*?\)/g, "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => /^\w+$/.test(name));
}

function missing(script, key) {
  throw new Error(`${script}.lua asks for key ${key}, which this program does not know`);
}

/** An entry that this program cannot read; `reason` is one of the reasons of dead letters. */
export class BadEntry extends Error {
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

/** Reads and writes envelopes. `schemas` is `{envelope: SCHEMA, events: {TYPE: {VERSION: SCHEMA}}}`. */
export class Envelopes {
  constructor(schemas) {
    this.events = schemas.events;
    this.validators = { read: validators(schemas, { removeAdditional: true }), write: validators(schemas, {}) };
  }

  /** The envelope in an entry, validated; null where its type is none of ours. */
  open(raw) {
    if (raw === undefined) throw new BadEntry("undecodable", "the entry has no field 'event'");
    const envelope = parse(raw);
    this.#check("read", "envelope", envelope);
    const versions = this.events[envelope.type];
    if (versions === undefined) return null;
    if (!(envelope.eventversion in versions)) {
      throw new BadEntry("unsupported_version", `${envelope.type} version ${envelope.eventversion}`);
    }
    this.#check("read", `${envelope.type}/${envelope.eventversion}`, envelope.data);
    return envelope;
  }

  /** A new envelope around data, validated, as it goes on the wire; `cause` is the envelope being handled, if any. */
  seal(source, type, data, cause) {
    const eventversion = Math.max(...Object.keys(this.events[type]).map(Number));
    const envelope = {
      specversion: "1.0",
      source,
      type,
      eventversion,
      id: randomUUID(),
      time: new Date().toISOString(),
      ...(cause && { correlationid: cause.correlationid ?? cause.id, causationid: cause.id }),
      data,
    };
    this.#check("write", "envelope", envelope);
    this.#check("write", `${type}/${eventversion}`, data);
    return JSON.stringify(envelope);
  }

  #check(direction, name, value) {
    const validate = this.validators[direction].getSchema(name);
    if (!validate(value)) {
      const [{ instancePath, message }] = validate.errors;
      const problem = `${name} ${instancePath}: ${message}`;
      throw direction === "read" ? new BadEntry("undecodable", problem) : new TypeError(problem);
    }
  }
}

// A reader drops what it does not know, at any depth; a writer must not write it.
function validators(schemas, options) {
  const ajv = new Ajv2020({ ...options, allowUnionTypes: true });
  addFormats(ajv);
  ajv.addVocabulary(["personal", "data_subject"]);
  ajv.addSchema(schemas.envelope, "envelope");
  for (const [type, versions] of Object.entries(schemas.events)) {
    for (const [version, schema] of Object.entries(versions)) ajv.addSchema(schema, `${type}/${version}`);
  }
  return ajv;
}

function parse(raw) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
  } catch (error) {
    throw new BadEntry("undecodable", `not JSON: ${error.message}`);
  }
}
