// The text extraction service of the reference system, in Node: hears of uploaded files, says what text they have.
// usage: node extractor.mjs CONFIG.json     Prints what happens, a JSON object a line; SIGTERM ends it in good order.

import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Consumer } from "./consumer.mjs";
import { Publisher } from "./publisher.mjs";
import { connect, Envelopes, keysOf, Scripts } from "./wire.mjs";

const config = JSON.parse(readFileSync(process.argv[2], "utf-8"));
const scripts = new Scripts(config.scripts);
const keys = keysOf(config.namespace, "files", config.group);
const envelopes = new Envelopes(config.schemas);
const output = new Envelopes(config.output_schemas);
const redis = connect(config.url);
const publisher = new Publisher(redis, scripts, keys);

function tell(happened, about = {}) {
  process.stdout.write(`${JSON.stringify({ happened, ...about })}\n`);
}

async function extract(envelope) {
  const { file_id, user_id, media_type, size_bytes } = envelope.data;
  if (media_type === "application/x-broken") throw new Error("no text in it");
  while (media_type === "application/x-slow" && !existsSync(config.gate)) await sleep(20);
  const data = { file_id, user_id, text_key: `files/${file_id}/text`, text_size_bytes: Math.floor(size_bytes / 9) };
  await publisher.send(publisher.number([output.seal("extractor", "file.text.extracted", data, envelope)]));
}

const consumer = new Consumer({
  url: config.url,
  keys,
  group: config.group,
  name: `node-${process.pid}`,
  scripts,
  envelopes,
  handle: extract,
  handler: "extractor.extract",
  retry: { attempts: config.attempts, delayMs: config.delay_ms },
  leaseMs: config.lease_ms,
  tell,
});
process.on("SIGTERM", () => {
  consumer.stop();
  tell("stopping");
});
await consumer.run();
await publisher.close();
redis.disconnect();
tell("stopped");
