// A backend that tells what it gets. It answers a plain request by what it read, as JSON, with the status in a path such as
// /status/404, and /never not at all. A handshake for /refused is refused by 403. A WebSocket echoes; "do close CODE REASON"
// closes it, and "do tell" says what the handshake was.

import * as http from "node:http";
import { WebSocketServer } from "ws";
import { say } from "./say.mjs";

const carrier = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    if (request.url === "/never") return;
    const status = Number(/^\/status\/(\d+)/.exec(request.url)?.[1] ?? 200);
    const told = told_of(request, Buffer.concat(pieces).toString());
    response.writeHead(status, { "Content-Type": "application/json", "X-Own": "yes" }).end(JSON.stringify(told));
  });
});
const server = new WebSocketServer({
  server: carrier,
  verifyClient: ({ req }, done) => done(req.url !== "/refused", 403, "no"),
  handleProtocols: (offered) => (offered.has("chat.v1") ? "chat.v1" : false),
});
server.on("connection", (socket, request) => {
  socket.on("message", (data, binary) => {
    const [verb, word, ...words] = binary ? [] : data.toString().split(" ");
    if (verb === "do" && word === "close") socket.close(Number(words[0]), words.slice(1).join(" "));
    else if (verb === "do" && word === "tell") socket.send(JSON.stringify(told_of(request, "")));
    else socket.send(data, { binary });
  });
  socket.on("close", (code, reason) => say("closed", { code, reason: reason.toString() }));
});
carrier.listen(0, "127.0.0.1", () => say("listening", { port: carrier.address().port }));

function told_of({ method, url, headers }, body) {
  return { method, url, headers, body };
}
