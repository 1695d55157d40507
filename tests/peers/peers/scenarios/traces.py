"""Traces as OpenTelemetry's own protobuf and a backend by others read them: one trace from the client to the backend."""

from ..bench import Bench, Failed, free_port, run_checks, wait_until
from ..proxy import Proxy

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


def run(bench: Bench) -> None:
    binary = bench.kept / "longwire-otlp"
    if not binary.is_file():
        raise Failed(f"MISSING: {binary} (tests/peers/run builds it, unless it is given another --binary)")
    backend = bench.python("websockets_server.py").port()
    collector = bench.python("collector.py")
    more = f"tracing: {{ endpoint: http://127.0.0.1:{collector.port()}, service_name: edge }}"
    proxy = Proxy(bench, [backend], more=more, binary=binary)
    before_nobody = Proxy(bench, [free_port()], more=more, binary=binary)
    traceparent = f"00-{TRACE}-{CALLER}-01"
    client = bench.python("traced_client.py", proxy.url("/ws?key=secret"), traceparent, before_nobody.url())
    run_checks(bench, client, 20)
    records = proxy.wait_records(3)
    for running in (proxy, before_nobody):
        bench.equal(running.stop(), 0, "longwire's exit code")
    wait_until(lambda: len(collector.events("span")) == 8, 10, "a span and one of an attempt for each of 4 handshakes")
    spans = {span["id"]: span for span in collector.events("span")}
    bench.equal(({span["service"] for span in spans.values()}, collector.events("wrong")), ({"edge"}, []), "its name")

    handshakes = []
    for told in client.events("told"):
        version, trace, parent, mark = told["headers"]["traceparent"].split("-")
        attempt = spans[parent]
        handshake = spans[attempt["parent"]]
        handshakes.append(handshake)
        kinds = (handshake["kind"], attempt["kind"])
        found = (version, mark, kinds, {trace, attempt["trace"], handshake["trace"]})
        bench.equal(found, ("00", "01", ("server", "client"), {trace}), "from the backend up to the handshake")
        bench.check(0 < attempt["nanoseconds"] <= handshake["nanoseconds"], "the attempt lies within the handshake")
    alone, called, garbage = handshakes
    bench.equal((called["trace"], called["parent"]), (TRACE, CALLER), "the client's trace goes on")
    states = [told["headers"].get("tracestate") for told in client.events("told")]
    bench.equal(states, [None, "vendor=opaque,other=1", None], "its state as it came")
    begun = {alone["trace"], garbage["trace"]}
    bench.equal((len(begun - {TRACE}), alone["parent"], garbage["parent"]), (2, "", ""), "the others begin here")
    wanted = {(span["attributes"]["longwire.request_id"], span["trace"]) for span in handshakes}
    bench.equal({(record["request_id"], record["trace_id"]) for record in records}, wanted, "the records name them")
    bench.equal({(span["name"], span["status"]) for span in handshakes}, {("GET */", "unset")}, "their names")

    refused = next(span for span in spans.values() if span["status"] == "error" and span["kind"] == "server")
    said = [refused["attributes"][key] for key in ("http.response.status_code", "error.type", "longwire.tries")]
    bench.equal(said, [502, "refused", 1], "a refusal says why")
    bench.check("secret" not in str(spans), "no span holds a query")
