// The entry `longwire-client/resume` as it is packed, over real connections with a longwire made of its model.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { describe, test } from "node:test";
import { LongwireSocket as PlainSocket } from "../dist/esm/index.js";
import { LongwireSocket } from "../dist/esm/resume.js";
import { IMPLEMENTATIONS, listen, Server, startPath, TOGETHER, until } from "./harness.mjs";
import { LongwireServer } from "./longwire-server.mjs";
import { OFFER } from "./longwire.mjs";

for (const [name, WebSocket] of Object.entries(IMPLEMENTATIONS)) {
  describe(`resuming by ${name}`, { concurrency: TOGETHER }, () => suite(WebSocket));
}

function suite(WebSocket) {
  // A socket that the end of the test closes, and that comes back soon: a quarter of `for_ms` is drawn as its hundredth.
  const opened = (t, url, protocols, options) => {
    const { random } = Math;
    Math.random = () => 0.01;
    try {
      const socket = new LongwireSocket(url, protocols, { WebSocket, minDelay: 20, resume: true, ...options });
      t.after(() => socket.close());
      return { socket, ...listen(socket) };
    } finally {
      Math.random = random;
    }
  };

  test("each message arrives once and in order both ways, while connections die all the time", async (t) => {
    const server = await LongwireServer.start(t, { for_ms: 20_000 });
    const path = await startPath(t, server.port);
    const { socket, all, seen, data } = opened(t, path.url);
    let number = 0;
    let cuts = 0;
    await seen("open");
    while (number < 400) {
      for (let count = 0; count < 10; count++) assert.equal(socket.send(`${number++}`), true);
      // Wherever the network is: with messages on their way, away, or in a handshake.
      await new Promise((resolve) => setTimeout(resolve, number % 7));
      if (number % 40) continue;
      // Each third cut meets an open connection, or one that is lost already.
      if (cuts % 3 === 0) await seen("open", 1 + cuts / 3);
      if (cuts++ % 3) server.cut();
      else path.cut();
    }
    const wanted = Array.from({ length: number }, (_, index) => `${index}`);
    await until(() => data().length >= number, "the last answer");
    assert.deepEqual(server.session.got, wanted);
    assert.deepEqual(data(), wanted);
    assert.equal(server.sessions.length, 1);
    const [first, ...others] = all("open");
    assert.deepEqual([first.resumed, others.every(({ resumed, lost }) => resumed && lost === 0)], [false, true]);
    assert.ok(others.length >= 3, `${others.length} times`);
    assert.equal(all("error").length, 0);
  });

  test("a path that falls silent is found by the beats, and nothing is lost", async (t) => {
    const server = await LongwireServer.start(t, { for_ms: 20_000, beat_ms: 200 });
    const path = await startPath(t, server.port);
    const { socket, seen, data } = opened(t, path.url);
    await seen("open");
    socket.addEventListener("down", () => (path.isSilent = false), { once: true });
    path.isSilent = true;
    for (const text of ["a", "b"]) assert.equal(socket.send(text), true);
    assert.equal((await seen("down")).reason, "no heartbeat");
    assert.equal((await seen("open", 2)).resumed, true);
    await until(() => data().length === 2, "the answers");
    assert.deepEqual([server.session.got, data(), server.sessions.length], [["a", "b"], ["a", "b"], 1]);
  });

  test("what is set of one connection is set of the next, and the subprotocol is the application's", async (t) => {
    const server = await LongwireServer.start(t, { for_ms: 20_000 });
    const { socket, seen, all } = opened(t, server.url, ["chat", "other"]);
    socket.binaryType = "arraybuffer";
    assert.equal(socket.protocol, "");
    for (const times of [1, 2]) {
      await seen("open", times);
      assert.deepEqual([socket.protocol, socket.binaryType, socket.bufferedAmount], ["chat", "arraybuffer", 0]);
      socket.send(Uint8Array.of(1, 2, 3));
      const { data } = await seen("message", times);
      assert.deepEqual([...new Uint8Array(data)], [1, 2, 3]);
      server.cut();
      await seen("down", times);
    }
    assert.equal(all("open")[1].resumed, true);
  });

  test("a blob and a message larger than all that is kept are messages like others", async (t) => {
    const server = await LongwireServer.start(t, { for_ms: 20_000, replay: 4096 });
    const { socket, seen } = opened(t, server.url);
    const large = "ü".repeat(50_000);
    await seen("open");
    for (const [times, data] of [new Blob(["blob"]), large].entries()) {
      assert.equal(socket.send(data), true);
      const { data: answer } = await seen("message", times + 1);
      assert.equal(typeof answer === "string" ? answer : await new Response(answer).text(), times ? large : "blob");
    }
  });

  test("a server that takes the place of longwire never makes the token a subprotocol", async (t) => {
    const server = await LongwireServer.start(t, { for_ms: 20_000 });
    const { socket, seen } = opened(t, server.url);
    await seen("open");
    server.mode = "echo";
    server.greeting = "welcome";
    server.cut();
    assert.equal((await seen("message")).data, "welcome");
    const { resumed } = await seen("open", 2);
    assert.deepEqual([socket.protocol, resumed], ["", false]);
  });

  test("a server that refuses by a Close for a while has the session afterwards", async (t) => {
    const server = await LongwireServer.start(t, { for_ms: 20_000 });
    const { socket, seen, data, all } = opened(t, server.url, ["chat"]);
    await seen("open");
    server.mode = "busy";
    server.cut();
    await seen("down");
    assert.equal(socket.send("while away"), true);
    assert.deepEqual([(await seen("down", 2)).code, all("open").length], [1013, 1]);
    server.mode = "on";
    const { resumed, lost } = await seen("open", 2);
    await until(() => data().length, "the answer");
    assert.deepEqual([resumed, lost, server.sessions.length, server.session.got], [true, 0, 1, ["while away"]]);
  });

  test("close ends the session with its own code", async (t) => {
    const server = await LongwireServer.start(t);
    const { socket, seen } = opened(t, server.url);
    await seen("open");
    socket.close(4000, "bye");
    const { code, wasClean } = await seen("close");
    assert.deepEqual([code, wasClean], [4000, true]);
    await until(() => server.closed.length, "a close at the server");
    assert.deepEqual([server.closed, server.session.isOver], [[4000], true]);
  });

  test("a session that is over is told, and the next one begins", async (t) => {
    const server = await LongwireServer.start(t, { for_ms: 20_000 });
    const { socket, seen } = opened(t, server.url);
    await seen("open");
    socket.send("a");
    await seen("message");
    server.session.isOver = true;
    const away = [];
    socket.ondown = () => away.push(socket.send("b"), socket.bufferedAmount > 0);
    server.cut();
    await seen("down");
    assert.deepEqual(away, [true, true]);
    const { resumed, lost } = await seen("open", 2);
    assert.equal(resumed, false);
    assert.ok(lost >= 1);
    socket.send("c");
    await seen("message", 2);
    assert.deepEqual(server.session.got, ["c"]);
  });

  test("a hold of the server is told", async (t) => {
    const server = await LongwireServer.start(t);
    const { socket, seen, data } = opened(t, server.url);
    const called = [];
    socket.onresync = ({ type }) => called.push(type);
    await seen("open");
    server.session.control("resync");
    socket.send("a");
    await seen("message");
    assert.deepEqual([called, data()], [["resync"], ["a"]]);
  });

  for (const [mode, protocols] of [["refuse", []], ["ignore", []], ["ignore", ["chat"]], ["off", []], ["off", ["chat"]], ["echo", []]]) {
    test(`against a server whose way is ${mode}, ${protocols.length ? "with" : "without"} a subprotocol, it is an ordinary one`, async (t) => {
      const server = await LongwireServer.start(t);
      server.mode = mode;
      // Nobody waits for the hello of a server that echoes any longer than for a connection.
      const { socket, seen, all } = opened(t, server.url, protocols, { connectTimeout: mode === "echo" ? 4000 : 10_000 });
      await seen("open");
      assert.deepEqual([all("down").length, all("open")[0].attempt], [0, 1]);
      assert.equal(socket.protocol, protocols[0] ?? "");
      socket.send("hello");
      assert.equal((await seen("message")).data, "hello");
      server.cut();
      await seen("down", all("down").length + 1);
      await seen("open", 2);
      assert.equal(all("open")[1].resumed, false);
    });
  }

  test("without the option it asks for nothing", async (t) => {
    const server = await Server.start(t);
    const { socket, seen } = opened(t, server.url, ["chat"], { resume: false });
    await seen("open");
    assert.equal(socket.protocol, "chat");
  });
}

test("the entry without resume says where it is", () => {
  assert.throws(() => new PlainSocket("ws://127.0.0.1:1/", [], { resume: true }), /longwire-client\/resume/);
  assert.throws(() => new LongwireSocket("ws://127.0.0.1:1/", [OFFER], { resume: true, WebSocket: IMPLEMENTATIONS["the package ws"] }), {
    name: "SyntaxError",
  });
});

test("nothing of it keeps a process alive after its end", async (t) => {
  const server = await LongwireServer.start(t, { for_ms: 1_000_000, beat_ms: 500_000 });
  const script = `
    import { LongwireSocket } from ${JSON.stringify(new URL("../dist/esm/resume.js", import.meta.url).href)};
    import { WebSocket } from ${JSON.stringify(import.meta.resolve("ws"))};
    const options = { WebSocket, resume: true };
    const open = new LongwireSocket("${server.url}", [], options);
    open.onopen = () => open.send("hello");
    open.onmessage = () => open.close();
    open.onclose = () => {
      const away = new LongwireSocket("${server.url}", [], options);
      away.onopen = () => away.send("cut");
      away.ondown = () => away.close();
    };
  `;
  server.answers = (data) => {
    if (data === "cut") setImmediate(() => server.cut());
    return data === "cut" ? [] : [data];
  };
  await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], { timeout: 20_000 });
});
