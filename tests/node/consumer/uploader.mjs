// A file service in Node: publishes the files of its configuration, the first ones simply, the rest as a batch, which it
// sends twice as if the first reply had been lost.
// usage: node uploader.mjs CONFIG.json     Prints a JSON object: how many were appended by each send, and what was refused.

import { readFileSync } from "node:fs";
import { append, Publisher } from "./publisher.mjs";
import { connect, Envelopes, keysOf, Scripts } from "./wire.mjs";

const config = JSON.parse(readFileSync(process.argv[2], "utf-8"));
const keys = keysOf(config.namespace, "files", "");
const envelopes = new Envelopes(config.schemas);
const redis = connect(config.url);
const publisher = new Publisher(redis, new Scripts(config.scripts), keys);

const refused = [];
const bodies = [];
for (const data of config.files) {
  try {
    bodies.push(envelopes.seal("uploader", "file.uploaded", data));
  } catch (error) {
    refused.push(error.message);
  }
}
for (const body of bodies.slice(0, config.simply)) await append(redis, keys, body);
const batch = publisher.number(bodies.slice(config.simply));
const appended = [await publisher.send(batch), await publisher.send(batch)];
await publisher.close();
redis.disconnect();
process.stdout.write(`${JSON.stringify({ appended, refused })}\n`);
