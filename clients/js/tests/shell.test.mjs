// A shell between a socket and its machine can keep a connection and its messages to itself: a protocol of the library's own fits
// there, and neither the machine nor the socket has to know of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { IMPLEMENTATIONS, listen, Server, until } from "./harness.mjs";
import { load, Machine } from "./machine.mjs";

const { LongwireSocket } = await load("socket.ts");
const WebSocket = IMPLEMENTATIONS["the package ws"];

// A connection is open when the server has greeted. Messages that the two ends have for each other begin with a tilde.
class Greeted {
  sent = 0;
  constructor(options, driver, random) {
    this.driver = driver;
    this.machine = new Machine(options, {
      ...driver,
      transmit: (data) => driver.transmit(data) && ++this.sent > 0,
      emit: (type, told) => driver.emit(type, type === "open" ? { ...told, resumed: true } : told),
    }, random);
    for (const step of ["isCurrent", "dial", "failed", "ended", "tick", "wake", "send", "close"]) {
      this[step] = (...words) => this.machine[step](...words);
    }
  }

  get readyState() {
    return this.machine.readyState;
  }

  get due() {
    return this.machine.due;
  }

  get queue() {
    return this.machine.queue;
  }

  opened(attempt) {
    if (this.isCurrent(attempt)) this.driver.transmit("~who is there");
  }

  heard(attempt, event, now) {
    const isOurs = `${event.data}`.startsWith("~");
    if (isOurs && this.readyState === 0) this.machine.opened(attempt, now);
    return !isOurs && this.machine.heard(attempt, event, now);
  }
}

test("a shell decides when a connection is open, and what of it is the application's", async (t) => {
  const server = await Server.start(t);
  let shell;
  const make = (...words) => (shell = new Greeted(...words));
  const socket = new LongwireSocket(server.url, [], { WebSocket, minDelay: 20, queue: {} }, make);
  t.after(() => socket.close());
  const { seen, all, data } = listen(socket);
  socket.send("early");
  for (const count of [1, 2]) {
    const { resumed } = await seen("open", count);
    assert.equal(resumed, true);
    await until(() => data().length === count, "an echo");
    await server.order({ say: "~a word to the shell" });
    await server.order({ end: true });
    await seen("down", count);
    socket.send("later");
  }
  assert.deepEqual(data(), ["early", "later"]);
  const words = server.all("text");
  assert.deepEqual(words.slice(0, 4), ["~who is there", "early", "~who is there", "later"]);
  assert.ok(shell.sent >= 2);
  socket.close();
  await seen("close");
  assert.equal(all("error").length, 0);
});
