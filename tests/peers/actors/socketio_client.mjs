// socket.io clients with many addresses: polling first, upgrade, echo; then WebSocket only. Arguments: the base URL,
// and the path of socket.io there.

import { once } from "node:events";
import { io } from "socket.io-client";
import { check, equal, say } from "./say.mjs";

const [url, path = "/socket.io/"] = process.argv.slice(2);
const backends = new Set();

// Each client comes from another address, as a trusted load balancer would tell, so that both backends get some.
async function session(number, transports) {
  const extraHeaders = { "X-Forwarded-For": `198.51.100.${number}` };
  const socket = io(url, { path, transports, extraHeaders, forceNew: true, reconnection: false });
  socket.on("connect_error", (error) => check(false, `client ${number} connects: ${error.message}`));
  const upgraded = once(socket.io.engine, "upgrade");
  await once(socket, "connect");
  if (transports[0] === "polling") await upgraded;

  const answer = await socket.timeout(10_000).emitWithAck("echo", `hello ${number}`);
  if (answer.payload !== `hello ${number}`) check(false, `client ${number} got its echo, not ${answer.payload}`);
  const bytes = Buffer.alloc(200_000, number);
  const back = once(socket, "bytes back");
  socket.emit("bytes", bytes);
  if (!bytes.equals((await back)[0])) check(false, `client ${number} got its bytes back`);
  // Long enough for socket.io's own heartbeat to have passed.
  await new Promise((done) => setTimeout(done, 2500));
  if (!socket.connected) check(false, `client ${number} is still connected`);
  backends.add(answer.name);
  const last = await socket.timeout(10_000).emitWithAck("echo", "last");
  equal(last.transport, "websocket", `client ${number} (${transports.join(", ")}) speaks by`);
  socket.close();
}

const numbers = [...Array(12).keys()].map((n) => n + 1);
await Promise.all(numbers.map((n) => session(n, n % 3 ? ["polling", "websocket"] : ["websocket"])));
say("backends", { names: [...backends].sort() });
say("done");
process.exit(0);
