// A backend of the deploy, by Node ws: answers each number with an ack, and sends numbers of its own.
// Arguments: PORT NAME

import { WebSocketServer } from "ws";
import { say } from "./say.mjs";

const [port, name] = [Number(process.argv[2]), process.argv[3]];
let connections = 0;

const server = new WebSocketServer({ host: "127.0.0.1", port, backlog: 4096, perMessageDeflate: false });
server.on("listening", () => say("listening", { port: server.address().port }));
server.on("connection", (socket) => {
  const connection = `${name}-${process.pid}-${connections++}`;
  let next = 0;
  const tell = (message) => socket.readyState === socket.OPEN && socket.send(JSON.stringify(message));
  const timer = setInterval(() => tell({ connection, number: next++ }), 500);
  socket.on("message", (data) => tell({ ack: Number(data) }));
  socket.on("close", () => clearInterval(timer));
});
