/**
 * BullMQ: a flow of three jobs in Redis, each the parent of the one before it.
 *
 * A job whose worker was killed runs again after a minute. One that hangs keeps its lock: jobs have no timeout.
 */
"use strict";

const fs = require("node:fs");
const { FlowProducer, Worker } = require("bullmq");

const queueName = "threes";
const { hostname: host, port } = new URL(process.env.PEER_REDIS);
const connection = { host, port: Number(port), maxRetriesPerRequest: null };
const concurrency = 50; // tried were 1, 10 and 50

const step = async ({ name, data }) => {
  fs.appendFileSync(process.env.PEER_DIARY, `${name} ${Date.now() / 1000}\n`);
  if (data.ms) await new Promise((resolve) => setTimeout(resolve, data.ms));
};

const start = async (processes, ms) => {
  const producer = new FlowProducer({ connection });
  for (let number = 0; number < processes; number += 1) {
    const first = { name: "first", queueName, data: {} };
    const middle = { name: "middle", queueName, data: { ms }, children: [first] };
    await producer.add({ name: "last", queueName, data: {}, children: [middle] });
  }
  await producer.close();
};

const work = () => new Worker(queueName, step, { connection, concurrency });

const [command, ...numbers] = process.argv.slice(2);
({ start, work })[command](...numbers.map(Number));
