// The backend of several longwires, by Node ws. Arguments: PORT... (one for each longwire)
// It tells each client by which of them it comes, from 0 on, and then answers each message with an echo.

import { WebSocketServer } from "ws";
import { say } from "./say.mjs";

const ports = process.argv.slice(2).map(Number);
let listening = 0;
for (const [place, port] of ports.entries()) {
  const server = new WebSocketServer({ host: "127.0.0.1", port, backlog: 1024, perMessageDeflate: false });
  server.on("listening", () => (listening += 1) === ports.length && say("listening", { ports }));
  server.on("connection", (socket) => {
    socket.send(`place ${place}`);
    socket.on("message", (data) => socket.send(data.toString()));
  });
}
