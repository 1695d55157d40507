// Opens sessions by Node ws and ends them, half of them itself, and counts the ends that are not in order. Arguments: URL COUNT
// One `done` event with what went wrong, and how often.

import { once } from "node:events";
import WebSocket from "ws";
import { say } from "./say.mjs";

const [url, count] = [process.argv[2], Number(process.argv[3])];
const AT_ONCE = 8;
const wrong = {};
let number = 0;

function note(what) {
  wrong[what] = (wrong[what] ?? 0) + 1;
}

async function end(clientFirst) {
  const session = new WebSocket(url, { rejectUnauthorized: false, perMessageDeflate: false });
  session.on("error", (error) => note(`ws: ${error.code ?? error.message}`));
  session.on("upgrade", ({ socket }) => socket.on("error", (error) => note(`socket: ${error.code}`)));
  const closed = once(session, "close");
  await once(session, "open");
  if (clientFirst) session.close(4000, "bye");
  else session.send("do close 4000 bye");
  const [code, reason] = await closed;
  if (code !== 4000 || reason.toString() !== "bye") note(`closed by ${code}`);
}

async function endSome() {
  while (number < count) await end(number++ % 2 === 1);
}

await Promise.all(Array.from({ length: AT_ONCE }, endSome));
say("done", { wrong });
