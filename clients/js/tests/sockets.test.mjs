// LongwireSocket as it is packed, over real connections with real servers, by each WebSocket that Node can have.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { getEventListeners, once } from "node:events";
import { promisify } from "node:util";
import { describe, test } from "node:test";
import { LongwireSocket } from "../dist/esm/index.js";
import { IMPLEMENTATIONS, listen, Server, startPath, TOGETHER, until } from "./harness.mjs";

const SOON = { minDelay: 20, maxDelay: 100 };

for (const [name, WebSocket] of Object.entries(IMPLEMENTATIONS)) {
  describe(`by ${name}`, { concurrency: TOGETHER }, () => suite(WebSocket));
}

// What is made draws this number for its delays.
function withRandom(number, make) {
  const { random } = Math;
  Math.random = () => number;
  try {
    return make();
  } finally {
    Math.random = random;
  }
}

function suite(WebSocket) {
  // A socket that the end of the test closes.
  const opened = (t, url, protocols, options) => {
    const socket = new LongwireSocket(url, protocols, { WebSocket, ...SOON, ...options });
    t.after(() => socket.close());
    return { socket, ...listen(socket) };
  };

  test("a server that is killed and started again gets each message once and in order", async (t) => {
    let server = await Server.start(t);
    const { port } = server;
    const { socket, all, seen, data } = opened(t, server.url, [], { queue: { messages: 1000 } });
    let number = 0;
    const arrived = [];
    await seen("open");
    for (let round = 1; round <= 4; round++) {
      for (let count = 0; count < 50; count++) assert.equal(socket.send(`${number++}`), true);
      await until(() => data().length === number, "the echo of what was sent");
      await until(() => arrived.length + server.all("text").length === number, "the word of the server");
      await server.kill();
      // What is handed to a connection whose end is not noticed yet is lost, and is not sent again.
      await until(() => socket.readyState === LongwireSocket.CONNECTING, "a loss that is noticed");
      for (let count = 0; count < 50; count++) assert.equal(socket.send(`${number++}`), true, "the queue takes it");
      arrived.push(...server.all("text"));
      server = await Server.start(t, port);
      await seen("open", round + 1);
      assert.equal(socket.readyState, LongwireSocket.OPEN);
    }
    await until(() => data().length >= number, "the last echo");
    await until(() => arrived.length + server.all("text").length >= number, "the last word of the server");
    arrived.push(...server.all("text"));
    const wanted = Array.from({ length: number }, (_, index) => `${index}`);
    assert.deepEqual(arrived, wanted);
    assert.deepEqual(data(), wanted);
    const attempts = all("open").map(({ attempt }) => attempt);
    assert.deepEqual(attempts, [...new Set(attempts)].sort((a, b) => a - b));
    assert.equal(attempts[0], 1);
    assert.ok(all("down").every(({ code, retryIn }) => code === 1006 && retryIn >= 0 && retryIn <= 100));
    assert.deepEqual([all("error").length, all("close").length, socket.dropped], [0, 0, 0]);
  });

  test("a server that is not there yet is waited for", async (t) => {
    const early = await Server.start(t);
    await early.kill();
    const { socket, seen, all } = opened(t, early.url);
    const { reason, code, error } = await seen("down", 3);
    assert.deepEqual([reason, code], ["connection failed", 1006]);
    assert.ok(error);
    assert.equal(socket.readyState, LongwireSocket.CONNECTING);
    await Server.start(t, early.port);
    assert.ok((await seen("open")).attempt > 3);
    assert.deepEqual(all("down").map(({ attempt }) => attempt), all("down").map((_, index) => index + 1));
  });

  test("a handshake that nobody answers is given up, and its server is left alone", async (t) => {
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const gone = new Promise((resolve) => silent.once("connection", (socket) => socket.on("close", resolve).resume()));
    t.after(() => silent.close());
    const { seen } = opened(t, `ws://127.0.0.1:${silent.address().port}`, [], { connectTimeout: 200 });
    assert.equal((await seen("down")).reason, "connect timeout");
    await gone;
  });

  test("each attempt asks for its URL and its protocols anew", async (t) => {
    const server = await Server.start(t);
    await server.order({ refuse: 2 });
    let token = 0;
    const { socket, seen } = opened(
      t,
      async () => `${server.url}?token=${++token}`,
      async () => ["chat", `v${token}`],
    );
    assert.equal(socket.url, "");
    await seen("open");
    await until(() => server.all("opened").length, "the word of the server");
    assert.deepEqual(server.all("refused"), ["/?token=1", "/?token=2"]);
    assert.deepEqual(server.all("opened"), ["/?token=3"]);
    assert.equal(socket.url, `${server.url}?token=3`);
    assert.match(socket.protocol, /^v[23]$/);
  });

  test("a URL that cannot be told is a failed attempt, and one that never comes too", async (t) => {
    const server = await Server.start(t);
    const answers = [
      () => Promise.reject(new Error("no token")),
      () => { throw new Error("no network"); },
      () => new Promise(() => {}),
      () => "no URL: at all",
      () => server.url,
    ];
    const next = () => (answers.length > 1 ? answers.shift() : answers[0])();
    const { seen, all } = opened(t, next, [], { connectTimeout: 3000 });
    const { attempt } = await seen("open");
    const told = all("down").map(({ reason, error }) => [reason, error?.message]);
    assert.deepEqual(told.slice(0, 3), [
      ["connection failed", "no token"],
      ["connection failed", "no network"],
      ["connect timeout", undefined],
    ]);
    assert.equal(told[3][0], "connection failed");
    assert.equal(told.length, attempt - 1);
  });

  test("a final code of the server is the end", async (t) => {
    const server = await Server.start(t);
    for (const [code, reason] of [[1000, "done"], [1008, "expired"], [4001, "moved"]]) {
      const { socket, seen, words } = opened(t, server.url);
      await seen("open");
      await server.order({ close: [code, reason] });
      const close = await seen("close");
      assert.deepEqual([close.code, close.reason, close.wasClean], [code, reason, true]);
      assert.deepEqual(words(), ["open", "close"]);
      assert.equal(socket.readyState, LongwireSocket.CLOSED);
      assert.equal(socket.send("more"), false);
    }
  });

  test("a temporary code is followed by another connection", async (t) => {
    const server = await Server.start(t);
    for (const [code, reason] of [[1001, ""], [1011, "backend lost"], [1012, "drain"], [1013, "sessions"], [1014, ""]]) {
      // The delay after 1012 and 1013 is drawn from 5 s.
      const { seen } = withRandom(0.01, () => opened(t, server.url));
      await seen("open");
      await server.order({ close: [code, reason] });
      const down = await seen("down");
      assert.deepEqual([down.code, down.reason], [code, reason || "closed"]);
      assert.equal(down.retryIn, code === 1012 || code === 1013 ? 50 : 0.2);
      assert.equal((await seen("open", 2)).attempt, 2);
      await server.order({ close: [1000, ""] });
    }
  });

  test("close tells the server, and ends it", async (t) => {
    const server = await Server.start(t);
    const { socket, seen, words } = opened(t, server.url);
    await seen("open");
    socket.close(4000, "bye");
    assert.equal(socket.readyState, LongwireSocket.CLOSING);
    const close = await seen("close");
    assert.deepEqual([close.code, close.reason, close.wasClean], [4000, "bye", true]);
    await until(() => server.all("closed").length, "a close at the server");
    assert.deepEqual(server.told.find(({ closed }) => closed), { closed: 4000, reason: "bye" });
    assert.deepEqual(words(), ["open", "close"]);

    const digits = opened(t, server.url);
    await digits.seen("open");
    digits.socket.close("4001");
    assert.equal((await digits.seen("close")).code, 4001, "as a WebSocket takes it");
  });

  test("a signal ends it in whatever state it is", async (t) => {
    const server = await Server.start(t);
    const early = opened(t, server.url, [], { signal: AbortSignal.abort() });
    assert.equal(early.socket.readyState, LongwireSocket.CLOSING);
    await early.seen("close");

    const controller = new AbortController();
    const { signal } = controller;
    const connecting = opened(t, () => new Promise(() => {}), [], { signal });
    const waiting = opened(t, "ws://127.0.0.1:1/", [], { signal, minDelay: 60_000, maxDelay: 60_000 });
    const open = opened(t, server.url, [], { signal });
    await Promise.all([waiting.seen("down"), open.seen("open")]);
    controller.abort();
    for (const { socket, seen, all } of [connecting, waiting, open]) {
      await seen("close");
      assert.equal(all("error").length, 0);
      assert.equal(socket.readyState, LongwireSocket.CLOSED);
    }
    await until(() => server.all("closed").length, "the word of the server");
    assert.equal(server.all("opened").length, 1);
  });

  test("a URL is asked for when its asker has the socket, and not after its end", async (t) => {
    const server = await Server.start(t);
    const told = [];
    const naming = opened(t, () => (told.push(naming.socket.readyState), server.url));
    await naming.seen("open");
    assert.deepEqual([told, naming.all("down")], [[0], []]);

    const controller = new AbortController();
    const aborting = opened(t, () => (controller.abort(), server.url), [], { signal: controller.signal });
    const closed = opened(t, () => (told.push("asked"), server.url));
    closed.socket.close();
    await Promise.all([aborting.seen("close"), closed.seen("close")]);
    // A connection of theirs would be told before this one.
    opened(t, `${server.url}?last`);
    await until(() => server.all("opened").includes("/?last"), "the word of the server");
    assert.deepEqual([told, server.all("opened")], [[0], ["/", "/?last"]]);
  });

  test("a path that falls silent is found by the heartbeat", async (t) => {
    const server = await Server.start(t);
    const path = await startPath(t, server.port);
    const heartbeat = { message: "ping", interval: 100, timeout: 3000, isReply: ({ data }) => data === "pong" };
    const { socket, seen, data } = opened(t, path.url, [], { heartbeat });
    await seen("open");
    socket.send("hello");
    await until(() => server.all("text").filter((text) => text === "ping").length >= 3, "heartbeats");
    await until(() => data().length, "the echo");
    path.isSilent = true;
    // The next attempt may follow at once, and would fall silent too.
    socket.addEventListener("down", () => (path.isSilent = false), { once: true });
    const down = await seen("down");
    assert.deepEqual([down.reason, down.code], ["no heartbeat", 1006]);
    await seen("open", 2);
    assert.deepEqual(data(), ["hello"], "and its answers are not told");
  });

  // Others wait for the closing handshake as long as they like.
  const isLetGo = WebSocket.prototype.terminate ? test : () => {};
  isLetGo("a connection that is given up is let go at once", async (t) => {
    const server = await Server.start(t);
    const path = await startPath(t, server.port);
    const options = { connectTimeout: 3000, minDelay: 60_000, maxDelay: 60_000 };
    const dead = opened(t, path.url, [], { ...options, heartbeat: { message: "ping", interval: 100, timeout: 3000 } });
    const closing = opened(t, path.url, [], options);
    await Promise.all([dead.seen("open"), closing.seen("open")]);
    path.isSilent = true;
    closing.socket.close();
    assert.equal((await dead.seen("down")).reason, "no heartbeat");
    assert.equal((await closing.seen("close")).reason, "close timeout");
    await until(() => path.left === 2, "end of both connections");
  });

  test("what is set of one connection is set of the next", async (t) => {
    const server = await Server.start(t);
    const { socket, seen, all } = opened(t, server.url, ["a", "b"]);
    socket.binaryType = "arraybuffer";
    assert.equal(socket.binaryType, "arraybuffer");
    for (const times of [1, 2]) {
      await seen("open", times);
      assert.deepEqual([socket.protocol, socket.url, socket.binaryType], ["b", server.url, "arraybuffer"]);
      assert.equal(typeof socket.extensions, "string");
      socket.send(Uint8Array.of(1, 2, 3));
      const { data } = await seen("message", times);
      assert.ok(data instanceof ArrayBuffer);
      assert.deepEqual([...new Uint8Array(data)], [1, 2, 3]);
      await server.order({ end: true });
    }
    assert.equal(all("error").length, 0);
  });

  test("it is used as a WebSocket is", async (t) => {
    const server = await Server.start(t);
    const { socket, seen } = opened(t, server.url, "chat");
    assert.deepEqual([socket.readyState, socket.CONNECTING, LongwireSocket.CONNECTING], [0, 0, 0]);
    assert.deepEqual([socket.OPEN, socket.CLOSING, socket.CLOSED], [1, 2, 3]);
    assert.deepEqual([LongwireSocket.OPEN, LongwireSocket.CLOSING, LongwireSocket.CLOSED], [1, 2, 3]);
    const called = [];
    for (const type of ["open", "message", "down", "error", "close"]) {
      assert.equal(socket[`on${type}`], null);
      socket[`on${type}`] = function (event) {
        assert.equal(this, socket);
        assert.equal(event.target, socket);
        called.push(event.type);
      };
    }
    await seen("open");
    assert.equal(socket.protocol, "chat");
    assert.equal(socket.bufferedAmount, 0);
    socket.send("hello");
    const message = await seen("message");
    assert.ok(message instanceof MessageEvent);
    assert.equal(message.data, "hello");
    socket.onmessage = null;
    assert.throws(() => socket.close(1001), { name: "InvalidAccessError" });
    assert.throws(() => socket.close(1000, "ä".repeat(62)), { name: "SyntaxError" });
    assert.equal(socket.readyState, 1);
    socket.close();
    await seen("close");
    assert.deepEqual(called, ["open", "message", "close"]);
    const { signal } = new AbortController();
    assert.throws(() => new LongwireSocket("no URL: at all", [], { WebSocket, signal }), { name: "SyntaxError" });
    assert.equal(getEventListeners(signal, "abort").length, 0, "and it listens to nothing");
    assert.throws(() => new LongwireSocket(server.url, ["twice", "twice"], { WebSocket }), { name: "SyntaxError" });
  });

  test("what waits in the queue is in bufferedAmount", (t) => {
    const { socket } = opened(t, () => new Promise(() => {}), [], { queue: {} });
    assert.equal(socket.send("äb"), true);
    assert.equal(socket.bufferedAmount, 3);
  });
}

test("a network that is back, and a page that is shown or seen again, end the wait", async (t) => {
  const server = await Server.start(t);
  const world = new EventTarget();
  const page = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  globalThis.addEventListener = world.addEventListener.bind(world);
  globalThis.document = page;
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.document;
  });
  const ways = {
    online: () => world.dispatchEvent(new Event("online")),
    pageshow: () => world.dispatchEvent(new Event("pageshow")),
    visibilitychange() {
      page.dispatchEvent(new Event("visibilitychange"));
      page.visibilityState = "visible";
      page.dispatchEvent(new Event("visibilitychange"));
    },
  };
  for (const wake of Object.values(ways)) {
    // An hour would pass until the next attempt.
    const options = { WebSocket: IMPLEMENTATIONS["the package ws"], minDelay: 36 };
    const socket = withRandom(1e5, () => new LongwireSocket(server.url, [], options));
    const { seen, all } = listen(socket);
    await seen("open");
    await server.order({ end: true });
    assert.equal((await seen("down")).retryIn, 3_600_000);
    wake();
    await seen("open", 2);
    assert.equal(all("down").length, 1);
    socket.close();
    await seen("close");
  }
});

test("without any WebSocket it says what to do", () => {
  const before = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  delete globalThis.WebSocket;
  try {
    assert.throws(() => new LongwireSocket("ws://127.0.0.1:1/"), /options\.WebSocket/);
  } finally {
    if (before) Object.defineProperty(globalThis, "WebSocket", before);
  }
});

test("nothing of it keeps a process alive after its end", async (t) => {
  const server = await Server.start(t);
  const script = `
    import { LongwireSocket } from ${JSON.stringify(new URL("../dist/esm/index.js", import.meta.url).href)};
    import { WebSocket } from ${JSON.stringify(import.meta.resolve("ws"))};
    // A timer that is left would outlive the patience of the test.
    const long = 1_000_000;
    const options = { WebSocket, connectTimeout: long, minDelay: long, maxDelay: long, heartbeat: { message: "ping", interval: long }, queue: {} };
    const open = new LongwireSocket("${server.url}", [], options);
    open.onopen = () => open.close();
    const down = new LongwireSocket("ws://127.0.0.1:1/", [], options);
    down.ondown = () => down.close();
    const connecting = new LongwireSocket(() => new Promise(() => {}), [], options);
    connecting.close();
    try { new LongwireSocket("no URL: at all", [], options); } catch {}
  `;
  await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { timeout: 20_000 });
});
