// Servers that can be killed, a path that can fall silent, and what a socket told.

import { fork } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { WebSocket as PackageWs } from "ws";

/** What a test runs over. Node before 22 has its own only behind a flag, which `../test` gives. */
export const IMPLEMENTATIONS = { "the package ws": PackageWs, "Node's own": globalThis.WebSocket };

/** How many tests run at once: each starts processes of Node, which two busy cores start slowly. */
export const TOGETHER = 4;

/** How long anything may take that a test waits for, in ms. */
const PATIENCE = 60_000;

export class Server {
  told = [];

  static async start(t, port) {
    const server = new Server();
    port ??= await freePort();
    server.process = fork(fileURLToPath(new URL("server.mjs", import.meta.url)), [`${port}`], { execArgv: [] });
    t.after(() => server.kill());
    server.process.on("message", (told) => server.told.push(told));
    await until(() => server.all("listening").length, "a server that listens");
    [server.port] = server.all("listening");
    return server;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/`;
  }

  all(kind) {
    return this.told.filter((told) => kind in told).map((told) => told[kind]);
  }

  /** `{ close: [code, reason] }`, `{ end: true }`, `{ refuse: times }` or `{ say: text }`. */
  async order(order) {
    const done = this.all("done").length;
    this.process.send(order);
    await until(() => this.all("done").length > done, "an order that is done");
  }

  async kill() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill("SIGKILL");
    await once(this.process, "exit");
  }
}

/** A path to a port. While `isSilent`, it takes all bytes and passes none on, and its connections stay so. */
export async function startPath(t, port) {
  const path = { isSilent: false, left: 0 };
  const sockets = new Set();
  const listener = createServer((client) => {
    client.on("close", () => path.left++);
    const server = connect(port, "127.0.0.1");
    let isSilent = path.isSilent;
    for (const [from, to] of [[client, server], [server, client]]) {
      sockets.add(from);
      from.on("data", (data) => (isSilent ||= path.isSilent) || to.write(data));
      from.on("close", () => isSilent || to.destroy());
      from.on("error", () => {});
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  path.cut = () => sockets.forEach((socket) => socket.resetAndDestroy());
  path.url = `ws://127.0.0.1:${listener.address().port}/`;
  return path;
}

/** Everything that a socket tells, as `[type, event]`. */
export function listen(socket) {
  const told = [];
  for (const type of ["open", "message", "down", "resync", "error", "close"]) {
    socket.addEventListener(type, (event) => told.push([type, event]));
  }
  const all = (type) => told.filter(([found]) => found === type).map(([, event]) => event);
  const seen = async (type, count = 1) => {
    await until(() => all(type).length >= count, `${count} times ${type}; told: ${told.map(([found]) => found)}`);
    return all(type)[count - 1];
  };
  return { told, all, seen, words: () => told.map(([type]) => type), data: () => all("message").map(({ data }) => data) };
}

/** A free port below those that connections take, so that it can be had again after its server was killed. */
async function freePort() {
  for (let tries = 0; tries < 1000; tries++) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    const probe = createServer().listen(port, "127.0.0.1");
    // `once` throws what an `error` event tells: somebody has it.
    if (!(await once(probe, "listening").catch(() => undefined))) continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
  throw new Error("no free port");
}

export async function until(condition, what) {
  const deadline = Date.now() + PATIENCE;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`no ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
