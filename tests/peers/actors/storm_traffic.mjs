// What both ends of the storm agree on: how a message looks, and so whether every byte of it is right.
//
// A message is a head of 32 characters (kind, session, number, offset: 8 hexadecimal digits each) and then the bytes of
// a fixed pool from that offset on. All of it is ASCII, so that it can go as text or binary.

import { createHash } from "node:crypto";

// ws's own limits stay as people run it: it ends a session on which 60 of its automatic Pongs wait to be written
// (maxPendingAutoPongs), which a proxy that pings every 50 ms whether or not it is answered reaches in 3 s.
export const DEFLATE = {
  threshold: 0,
  // Not a queue of ten for a thousand sessions: behind a message that waits to be compressed its session's Pongs wait.
  concurrencyLimit: 100,
  serverMaxWindowBits: 11,
  clientMaxWindowBits: 11,
  zlibDeflateOptions: { level: 1, memLevel: 4 },
};

const HEAD = 32;
const MIB = 1024 * 1024;
const pool = makePool(2 * MIB);

// Half of it compresses well, half of it hardly.
function makePool(length) {
  const parts = [];
  for (let n = 0, total = 0; total < length; n += 1) {
    const digest = createHash("sha512").update(String(n)).digest("base64");
    parts.push(n % 2 ? digest : "a session that lasts ".repeat(4));
    total += parts.at(-1).length;
  }
  return Buffer.from(parts.join("")).subarray(0, length);
}

// A small generator with a seed: each session's traffic is the same in every run. (mulberry32)
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// 64 B to 1 MiB: most small, one in a hundred over 64 KiB, and now and then exactly 1 MiB.
export function pickLength(random) {
  const dice = random();
  if (dice < 0.001) return MIB;
  const [from, to] = dice < 0.01 ? [65536, MIB] : dice < 0.2 ? [4096, 65536] : [64, 4096];
  return Math.floor(from * (to / from) ** random());
}

export function makeMessage(kind, session, number, length, random) {
  const offset = Math.floor(random() * (pool.length - length + HEAD));
  const head = [kind, session, number, offset].map((n) => n.toString(16).padStart(8, "0")).join("");
  return Buffer.concat([Buffer.from(head), pool.subarray(offset, offset + length - HEAD)]);
}

// The head of a message whose every byte is right; throws otherwise.
export function readMessage(data) {
  const [kind, session, number, offset] = [0, 8, 16, 24].map((at) => parseInt(data.toString("latin1", at, at + 8), 16));
  const right = data.length >= 64 && data.subarray(HEAD).equals(pool.subarray(offset, offset + data.length - HEAD));
  if (!right)
    throw new Error(`a message of ${data.length} bytes has wrong bytes (session ${session}, number ${number})`);
  return { kind, session, number };
}

// Sends as text or binary, compressed or not, in one to six fragments of any length. Resolves once it is written. All
// fragments are handed over at once, so that those of two messages never mix.
export function sendMessage(socket, data, random, figures) {
  const [binary, compress] = [random() < 0.5, random() < 0.4];
  const cuts =
    random() < 0.4
      ? [...Array(1 + Math.floor(random() * 5))].map(() => Math.floor(random() * data.length)).sort((a, b) => a - b)
      : [];
  const edges = [0, ...cuts, data.length];
  figures.messages += 1;
  figures.bytes += data.length;
  figures.fragmented += cuts.length > 0;
  figures.compressed += compress;
  figures.mebibyte += data.length === MIB;
  return new Promise((written) => {
    for (let i = 1; i < edges.length; i += 1) {
      const fin = i === edges.length - 1;
      // An error ends the session, which the close event reports.
      socket.send(data.subarray(edges[i - 1], edges[i]), { binary, compress, fin }, fin ? () => written() : undefined);
    }
  });
}

export const newFigures = () => ({ messages: 0, bytes: 0, fragmented: 0, compressed: 0, mebibyte: 0 });

// Pings with known payloads: each must be answered once, in order, and no Pong may come that answers none.
export class Pings {
  constructor(socket, prefix, fail) {
    Object.assign(this, { socket, sent: 0, answered: 0, foreign: 0, waiting: [], idle: [] });
    this.prefix = prefix;
    socket.on("pong", (payload) => {
      const wanted = this.waiting.shift();
      if (payload.toString() !== wanted) fail(`a Pong ${JSON.stringify(payload.toString("latin1"))}, wanted ${wanted}`);
      this.answered += 1;
      if (this.waiting.length === 0) this.idle.splice(0).forEach((done) => done());
    });
  }

  send() {
    this.sent += 1;
    this.waiting.push(`${this.prefix}:${this.sent}`);
    this.socket.ping(this.waiting.at(-1));
  }

  allAnswered() {
    return this.waiting.length === 0 ? Promise.resolve() : new Promise((done) => this.idle.push(done));
  }
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
