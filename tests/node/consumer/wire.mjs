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
  redis.on("error", () => {}); // the caller of each command gets the error
  return redis;
}

/** The keys by their names in the KEYS of the scripts. */
export function keysOf(namespace, stream, group) {
  const prefix = `${namespace}:{${stream}}`;
  const of = (suffix) => `${prefix}:group:${group}:${suffix}`;
  return {
    stream: `${prefix}:events`,
    producer: (producer) => `${prefix}:producer:${producer}`,
    retry: of("retry"),
    delayed: of("delayed"),
    dead_letters: of("dlq"),
    edits: of("edits"),
    sweep: of("sweep"),
    key_queue_heads: of("heads"),
    key_queues: of("lanes"),
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

/** Reads and writes envelopes. `schemas` is `{TYPE: {VERSION: SCHEMA}}`: of whole envelopes, as eventlib exports them. */
export class Envelopes {
  constructor(schemas) {
    this.readers = validators(schemas);
    this.writers = validators(closed(schemas));
  }

  /** The envelope in an entry, validated; null for an unknown type. */
  open(raw) {
    if (raw === undefined) throw new BadEntry("undecodable", "the entry has no field 'event'");
    const envelope = parse(raw);
    const { specversion, id, type, eventversion } = Object(envelope);
    if (specversion !== "1.0" || typeof id !== "string" || typeof type !== "string" || !Number.isInteger(eventversion)) {
      throw new BadEntry("undecodable", "no CloudEvents 1.0 envelope");
    }
    const versions = this.readers[type];
    if (versions === undefined) return null;
    const validate = versions[eventversion];
    if (validate === undefined) throw new BadEntry("unsupported_version", `${type} version ${eventversion}`);
    if (!validate(envelope)) throw new BadEntry("undecodable", problemOf(validate));
    return envelope;
  }

  /** A new envelope around data, validated, as it goes on the wire; `cause` is the envelope being handled, if any. */
  seal(source, type, data, cause) {
    const eventversion = Math.max(...Object.keys(this.writers[type]).map(Number));
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
    const validate = this.writers[type][eventversion];
    if (!validate(envelope)) throw new TypeError(problemOf(validate));
    return JSON.stringify(envelope);
  }
}

function validators(schemas) {
  const ajv = new Ajv2020({ allowUnionTypes: true });
  addFormats(ajv);
  ajv.addVocabulary(["personal", "data_subject", "x-rules", "x-read", "x-computed"]);
  const compiled = (versions) => mapped(versions, (schema) => ajv.compile(schema));
  return mapped(schemas, compiled);
}

// The exported schemas are a reader's: what they do not name is ignored. A writer must not write it.
function closed(schema) {
  if (Array.isArray(schema)) return schema.map(closed);
  if (schema === null || typeof schema !== "object") return schema;
  const parts = mapped(schema, closed);
  return schema.type === "object" && schema.properties ? { additionalProperties: false, ...parts } : parts;
}

function mapped(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));
}

function problemOf(validate) {
  const [{ instancePath, message }] = validate.errors;
  return `${instancePath}: ${message}`;
}

function parse(raw) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(raw));
  } catch (error) {
    throw new BadEntry("undecodable", `not JSON: ${error.message}`);
  }
}
