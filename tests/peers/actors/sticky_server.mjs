// A backend that keeps its clients in memory: socket.io, a page with socket.io's own client, its name by plain HTTP and by
// WebSocket, and each cookie that came to it. Argument: its name.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { WebSocketServer } from "ws";
import { say } from "./say.mjs";

const name = process.argv[2];
const PAGE = '<!doctype html><title>sticky</title><link rel="icon" href="data:,"><script src="/socket.io/socket.io.js"></script>';

const http = createServer((request, response) => {
  if (request.url === "/page") return response.writeHead(200, { "Content-Type": "text/html" }).end(PAGE);
  response.writeHead(200, { "Content-Type": "application/json", "Cache-Control": "no-store" });
  response.end(JSON.stringify({ name, cookie: request.headers.cookie ?? null }));
});
const io = new Server(http);
io.on("connection", (socket) => {
  socket.conn.on("upgrade", () => say("upgraded", { name }));
  socket.on("who", (answer) => answer(name));
});
const ws = new WebSocketServer({ noServer: true });
http.on("upgrade", (request, socket, head) => {
  if (request.url !== "/ws") return;
  ws.handleUpgrade(request, socket, head, (client) => client.send(JSON.stringify({ name, cookie: request.headers.cookie ?? null })));
});
http.prependListener("request", ({ headers }) => headers.cookie && say("cookie", { cookie: headers.cookie }));
http.prependListener("upgrade", ({ headers }) => headers.cookie && say("cookie", { cookie: headers.cookie }));
http.listen(0, "127.0.0.1", () => say("listening", { port: http.address().port }));
