// Clients of the deploy, by Node ws. Each sends numbers and expects an ack for each, once and in order; what the backends send of
// their own must come in order too, and from one connection after the other. SIGTERM ends them. With SIZE, each message has so many
// bytes.
// Arguments: URL CLIENTS [SIZE]

import WebSocket from "ws";
import { say } from "./say.mjs";

const [url, count, size] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4] ?? 0)];
const totals = { sent: 0, acked: 0, missing: 0, wrong: 0, backends: 0, closed_early: 0, slowest_ms: 0 };
let stops = false;

function client(number, opened) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${url}${number}`, { perMessageDeflate: false });
    const connections = new Set();
    let [next, acked, own, connection, timer] = [0, -1, -1, undefined, undefined];
    let last = Date.now();
    const end = () => {
      totals.missing += next - 1 - acked;
      socket.close(4000, "done");
    };
    const tick = () => {
      if (stops) {
        clearInterval(timer);
        setTimeout(end, 3000);
      } else {
        socket.send(String(next++).padEnd(size));
        totals.sent += 1;
      }
    };
    socket.on("open", () => {
      opened();
      timer = setInterval(tick, 200 + (number % 100));
    });
    socket.on("message", (data) => {
      const message = JSON.parse(data);
      if (message.ack !== undefined) {
        if (message.ack <= acked) totals.wrong += 1;
        totals.missing += Math.max(0, message.ack - acked - 1);
        [acked, totals.acked] = [message.ack, totals.acked + 1];
        totals.slowest_ms = Math.max(totals.slowest_ms, Date.now() - last);
        last = Date.now();
        return;
      }
      if (message.connection !== connection) {
        // A new backend begins at 0, and none comes back.
        if (connections.has(message.connection) || message.number !== 0) totals.wrong += 1;
        connections.add(message.connection);
        [connection, totals.backends] = [message.connection, totals.backends + 1];
      } else if (message.number !== own + 1) totals.wrong += 1;
      own = message.number;
    });
    socket.on("error", (error) => say("broken", { what: error.message }));
    socket.on("close", (code, reason) => {
      clearInterval(timer);
      if (code !== 4000 || reason.toString() !== "done") totals.closed_early += 1;
      resolve();
    });
  });
}

let open = 0;
const all = [];
for (let number = 0; number < count; number += 1) {
  all.push(client(number, () => (open += 1) === count && say("opened", { count })));
  if (number % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 50));
}
process.on("SIGTERM", () => (stops = true));
await Promise.all(all);
say("summary", totals);
process.exit(0);
