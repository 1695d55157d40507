"""A service that says who may come, as oauth2-proxy does at /oauth2/auth: 202 with who it is, 401 with how to sign in, or a
redirect to its login page for a browser. Its word goes by the cookie `session` and by `Authorization: Bearer`."""

import time
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from say import say


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        fields = {name.lower(): value for name, value in self.headers.items()}
        say("asked", path=self.path, fields=fields, connection=self.client_address[1])
        cookie = SimpleCookie(fields.get("cookie", "")).get("session")
        user = cookie.value if cookie else fields.get("authorization", "").removeprefix("Bearer ")
        known = {"X-Auth-Request-User": user, "X-Auth-Request-Email": f"{user}@example.com"}
        if user == "broken":
            self.say(500)
        elif user == "banned":
            self.say(403, body="not you\n")
        elif user == "brief":
            self.say(202, known | {"X-Session-Expires": int(time.time()) + 4})
        elif user:
            self.say(202, known, body="Authenticated\n")
        elif "text/html" in fields.get("accept", ""):
            self.say(302, {"Location": f"/oauth2/start?rd={fields.get('x-forwarded-uri', '')}"})
        else:
            self.say(401, {"WWW-Authenticate": 'Bearer realm="longwire"'}, body="who are you?\n")

    def say(self, status: int, fields: dict | None = None, body: str = "") -> None:
        self.send_response(status)
        for name, value in (fields or {}).items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
say("listening", port=server.server_address[1])
server.serve_forever()
