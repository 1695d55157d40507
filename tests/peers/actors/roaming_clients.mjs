// Clients that roam, in Node. Arguments: FOLDER-OF-THE-LIBRARY URL KIND COUNT RESUME (on or off). The kind is `ws`, the package, or `own`, Node's WebSocket.
// SIGTERM ends the traffic; what each client has seen follows.

import WebSocket from "ws";
import { say } from "./say.mjs";
import { client } from "./roaming_traffic.mjs";

const [folder, url, kind, count, resume] = process.argv.slice(2);
const [{ LongwireSocket: plain }, { LongwireSocket: resuming }] = [await import(`${folder}/index.js`), await import(`${folder}/resume.js`)];
if (kind === "own" && !globalThis.WebSocket) throw new Error("this Node has no WebSocket of its own");
// How long a client may take to come back and say its end, ms.
const LAST = 45_000;

const travellers = [];
for (let number = 0; number < Number(count); number += 1) {
  travellers.push(client({ plain, resuming }, url, kind, number, resume, kind === "ws" ? { WebSocket } : {}));
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
