// A socket.io backend. It echoes, and counts what came to it. Argument: its name.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { say } from "./say.mjs";

const name = process.argv[2];
const http = createServer();
const io = new Server(http, { pingInterval: 2000, pingTimeout: 5000 });

io.on("connection", (socket) => {
  say("connected", { name, transport: socket.conn.transport.name });
  socket.conn.on("upgrade", (transport) => say("upgraded", { name, transport: transport.name }));
  socket.on("echo", (payload, answer) => answer({ name, payload, transport: socket.conn.transport.name }));
  socket.on("bytes", (buffer) => socket.emit("bytes back", buffer));
  socket.on("disconnect", (reason) => say("disconnected", { name, reason }));
});
http.listen(0, "127.0.0.1", () => say("listening", { port: http.address().port }));
