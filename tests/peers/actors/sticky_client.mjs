// Clients in Node that keep cookies: socket.io from polling to its upgrade, and `ws`. Argument: the base URL.

import { once } from "node:events";
import { io } from "socket.io-client";
import WebSocket from "ws";
import { check, equal, say } from "./say.mjs";

const url = process.argv[2];
const names = { "socket.io": new Set(), ws: new Set() };

// `withCredentials`: socket.io's client in Node then has a jar of its own.
async function polling(number) {
  const socket = io(url, { withCredentials: true, forceNew: true, reconnection: false });
  socket.on("connect_error", (error) => check(false, `socket.io ${number} connects: ${error.message}`));
  const upgraded = once(socket.io.engine, "upgrade");
  await once(socket, "connect");
  const before = await socket.timeout(10_000).emitWithAck("who");
  await upgraded;
  const after = await socket.timeout(10_000).emitWithAck("who");
  if (before !== after) check(false, `socket.io ${number} stays with ${before}, not ${after}`);
  names["socket.io"].add(after);
  socket.close();
}

async function handshake(headers) {
  const socket = new WebSocket(`${url.replace("http", "ws")}/ws`, { headers });
  const [[response], [message]] = await Promise.all([once(socket, "upgrade"), once(socket, "message")]);
  socket.close();
  await once(socket, "close");
  return { ...JSON.parse(message), set: response.headers["set-cookie"] };
}

await Promise.all([...Array(8).keys()].map(polling));
equal([...names["socket.io"]].sort(), ["one", "two"], "eight socket.io clients, from polling to the upgrade, at");
for (let client = 0; client < 2; client++) {
  const first = await handshake({});
  const cookie = first.set[0].split(";")[0];
  for (let again = 0; again < 4; again++) {
    const next = await handshake({ Cookie: `theme=dark; ${cookie}` });
    equal([next.name, next.cookie, next.set], [first.name, "theme=dark", undefined], "ws comes back, and its backend reads");
  }
  names.ws.add(first.name);
}
equal([...names.ws].sort(), ["one", "two"], "two ws clients without a cookie, at");
say("done");
process.exit(0);
