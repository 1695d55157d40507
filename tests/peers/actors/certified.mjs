// A client by Node ws that shows a certificate. Arguments: the URL of ws_server.mjs behind longwire, the subject that the
// backend must be told (empty: the handshake must be refused with 403), and the PEM files of the certificate and its key.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import WebSocket from "ws";
import { check, equal, say } from "./say.mjs";

const [url, subject, cert, key] = process.argv.slice(2);
const shown = cert ? { cert: readFileSync(cert), key: readFileSync(key) } : {};

for (const version of ["TLSv1.2", "TLSv1.3"]) {
  const versions = { minVersion: version, maxVersion: version };
  const lie = { "X-Client-Cert-Subject": "CN=admin", X_Client_Cert_Subject: "CN=admin" };
  const socket = new WebSocket(url, { rejectUnauthorized: false, headers: lie, ...versions, ...shown });
  if (!subject) {
    const [, answer] = await once(socket, "unexpected-response");
    equal(answer.statusCode, 403, `${version}: a handshake without a certificate`);
    continue;
  }
  await once(socket, "open");
  socket.send("do tell");
  const [data] = await once(socket, "message");
  const { headers } = JSON.parse(data.toString());
  equal(headers["x-client-cert-subject"], subject, `${version}: the subject at the backend`);
  check(!("x_client_cert_subject" in headers), `${version}: what the client says of itself is gone`);
  const closed = once(socket, "close");
  socket.close(1000);
  equal((await closed)[0], 1000, `${version}: closed`);
}
say("done");
