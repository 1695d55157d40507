// A page in headless Chromium that opens more WebSockets than it may. Arguments: URL-TOLD-BY-CLOSE URL-TOLD-BY-STATUS
// PROFILE-FOLDER. Its own origin is `null`: it is a blank page.

import { launch } from "./chromium.mjs";
import { equal, say } from "./say.mjs";

const [byClose, byStatus, profile] = process.argv.slice(2);
const { context, page } = await launch(profile);

equal(await open(byClose), { opened: true }, "the first session opens");
const close = (protocol) => ({ opened: true, protocol, code: 1013, reason: "sessions_per_client", clean: true });
equal(await open(byClose, [], true), close(""), "the page reads why the second is refused");
equal(await open(byClose, ["chat.v2", "chat"], true), close("chat.v2"), "also where it offers subprotocols");
equal(await open(byStatus), { opened: true }, "the first session opens");
const blind = { opened: false, protocol: "", code: 1006, reason: "", clean: false };
equal(await open(byStatus, [], true), blind, "of a status the page reads nothing");
equal(await open(`${byStatus}mine`, [], true), blind, "a page of another origin is refused");
equal(await open(`${byClose}blank`, [], true), close(""), "and one whose origin is listed comes as far as the limit");
await context.close();
say("done");

// What the page sees of a WebSocket, when it is open or, if asked for, when it is closed.
function open(url, protocols = [], untilClosed = false) {
  return page.evaluate(
    ([url, protocols, untilClosed]) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url, protocols);
        let opened = false;
        socket.onopen = () => {
          opened = true;
          if (!untilClosed) resolve({ opened });
        };
        socket.onclose = ({ code, reason, wasClean }) =>
          resolve({ opened, protocol: socket.protocol, code, reason, clean: wasClean });
      }),
    [url, protocols, untilClosed],
  );
}
