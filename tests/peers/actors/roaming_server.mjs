// The backend of clients that roam, by Node ws: it takes numbers, sends numbers of its own, and gives up who does not answer its Pings.
// Argument: the seconds without a Pong after which it does. SIGTERM asks for what it has seen of each session.

import { WebSocketServer } from "ws";
import { say } from "./say.mjs";
import { messageOf, numberOf } from "./roaming_traffic.mjs";

const patience = Number(process.argv[2]) * 1000;
// What waits to leave at most, bytes: then nothing is added.
const MOST_UNSENT = 1_000_000;
const sessions = [];

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 1024, perMessageDeflate: false });
server.on("listening", () => say("listening", { port: server.address().port }));
server.on("connection", (socket, request) => {
  const [, name, attempt] = request.url.split("/");
  // From the first to before the last number that came, and how many it has sent.
  const session = { name, attempt: Number(attempt), first: null, next: null, wrong: 0, sent: 0, told: null, code: null, reason: "" };
  sessions.push(session);
  let pongAt = Date.now();
  const traffic = setInterval(() => {
    if (session.told !== null || socket.readyState !== socket.OPEN || socket.bufferedAmount > MOST_UNSENT) return;
    socket.send(messageOf(session.sent++));
  }, 200);
  const pings = setInterval(() => {
    if (Date.now() - pongAt > patience) socket.terminate();
    else socket.ping();
  }, 1000);
  socket.on("pong", () => (pongAt = Date.now()));
  socket.on("message", (data, isBinary) => {
    const message = isBinary ? data : data.toString();
    if (message === "ping") return socket.send("pong");
    if (!isBinary && message.startsWith("end:")) {
      session.told = Number(message.slice(4));
      return socket.send(`end:${session.sent}`);
    }
    const number = numberOf(message);
    session.first ??= number;
    session.next ??= number;
    if (number !== session.next) {
      session.wrong += 1;
      session.firstWrong ??= `${String(number)} instead of ${session.next}`;
    }
    session.next = number + 1;
  });
  socket.on("error", () => {});
  socket.on("close", (code, reason) => {
    clearInterval(traffic);
    clearInterval(pings);
    [session.code, session.reason] = [code, reason.toString()];
  });
});
process.on("SIGTERM", () => {
  say("summary", { sessions });
  process.stdout.write("", () => process.exit(0));
});
