// A client by Node ws that shows who it is. Arguments: the URL of ws_server.mjs or websockets_server.py behind a proxy, the
// fields of its handshake as JSON, perhaps `--stay`.
//
// An event `told` with the fields that the backend read, or `refused` with status, fields and body of the answer. With --stay
// the session stays until the other end closes it: an event `closed` with code and reason.

import WebSocket from "ws";
import { say } from "./say.mjs";

const [url, headers, stay] = process.argv.slice(2);
const socket = new WebSocket(url, { headers: JSON.parse(headers), handshakeTimeout: 10_000 });
socket.on("unexpected-response", (_, response) => {
  const parts = [];
  response.on("data", (part) => parts.push(part));
  response.on("end", () => {
    say("refused", { status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() });
    process.exit(0);
  });
});
socket.on("error", (error) => {
  say("failed", { error: String(error) });
  process.exit(1);
});
socket.on("open", () => socket.send("do tell"));
socket.on("message", (message) => {
  say("told", JSON.parse(message.toString()));
  if (!stay) socket.close(1000);
});
socket.on("close", (code, reason) => say("closed", { code, reason: reason.toString() }));
