// Clients that roam, in Node. Arguments: MODULE URL KIND COUNT RESUMES (1 or 0). The kind is `ws`, the package, or `own`, Node's WebSocket.
// SIGTERM ends the traffic; what each client has seen follows.

import WebSocket from "ws";
import { say } from "./say.mjs";
import { optionsOf, traveller } from "./roaming_traffic.mjs";

const [module, url, kind, count, resumes] = process.argv.slice(2);
const { LongwireSocket } = await import(module);
if (kind === "own" && !globalThis.WebSocket) throw new Error("this Node has no WebSocket of its own");
// How long a client may take to come back and say its end, ms.
const LAST = 45_000;

const travellers = [];
for (let number = 0; number < Number(count); number += 1) {
  const options = { ...optionsOf(number, resumes === "1"), ...(kind === "ws" ? { WebSocket } : {}) };
  travellers.push(traveller(LongwireSocket, url, `${kind}-${number}`, options));
  if (number % 20 === 19) await new Promise((resolve) => setTimeout(resolve, 50));
}
process.on("SIGTERM", () => {
  for (const one of travellers) one.stop();
  const began = Date.now();
  const timer = setInterval(() => {
    if (Date.now() - began < LAST && travellers.some(({ seen }) => seen.end === null || seen.end === "told")) return;
    clearInterval(timer);
    say("summary", { clients: travellers.map(({ seen }) => seen) });
    process.stdout.write("", () => process.exit(0));
  }, 100);
});
const opening = setInterval(() => {
  if (travellers.some(({ seen }) => seen.opens.length === 0)) return;
  clearInterval(opening);
  say("opened");
}, 50);
