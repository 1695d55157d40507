// A server of its own process, which a test can kill. It numbers what it sends, and tells by IPC what it gets.
// Arguments: PORT

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const http = createServer();
const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered].at(-1) });
let refused = 0;
const tell = (told) => process.send(told);

http.on("upgrade", (request, socket, head) => {
  if (refused > 0) {
    refused--;
    tell({ refused: request.url });
    return socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
  }
  sockets.handleUpgrade(request, socket, head, (opened) => {
    tell({ opened: request.url });
    opened.on("message", (data, isBinary) => {
      tell(isBinary ? { bytes: [...data] } : { text: `${data}` });
      if (`${data}` === "ping") opened.send("pong");
      else opened.send(data, { binary: isBinary });
    });
    opened.on("close", (code, reason) => tell({ closed: code, reason: `${reason}` }));
  });
});

process.on("message", ({ close, refuse, say, end }) => {
  if (close) for (const socket of sockets.clients) socket.close(...close);
  if (end) for (const socket of sockets.clients) socket.terminate();
  if (refuse) refused = refuse;
  if (say) for (const socket of sockets.clients) socket.send(say);
  tell({ done: true });
});
process.on("disconnect", () => process.exit());
http.listen(Number(process.argv[2]), "127.0.0.1", () => tell({ listening: http.address().port }));
