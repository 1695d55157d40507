"""Clients with certificates: openssl s_client, curl and Node ws, with authorities, certificates and lists by OpenSSL."""

import json
import signal
import subprocess
from pathlib import Path
from urllib.parse import unquote

from ..bench import Bench, Failed, run_checks, wait_until
from ..proxy import Proxy
from .curl import curl
from .resume import visit

AUTHORITY = """
[ca]
default_ca = here
[here]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 2
crl_extensions = list
[list]
authorityKeyIdentifier = keyid:always
"""
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
TOLD = "[fingerprint, subject, san, serial, pem]"


def run(bench: Bench) -> None:
    authority(bench.folder)
    issue(bench.folder, "good", "/O=Doe, Jörg \\+ Söhne/CN=peer", "0x80ff")
    issue(bench.folder, "revoked", "/CN=revoked", "0x0100")
    for mode in ("required", "optional"):
        requests(bench, mode)
    sessions(bench)


def requests(bench: Bench, mode: str) -> None:
    folder = bench.folder
    (folder / "index.txt").write_text("")
    revoke(folder, None)
    backend = bench.node("http_server.mjs").port()
    needed = f"client_cert: required, forward_client_cert: {TOLD}"
    routes = f"- {{ path: /hello, upstream: backends }}\n- {{ path: /, upstream: backends, {needed} }}"
    proxy = Proxy(bench, [backend], tls=True, client_auth=trust(mode), routes=routes)
    for version in ("1.2", "1.3"):
        only = ("-k", "--tlsv" + version, "--tls-max", version)
        lie = ("-H", "X-Client-Cert-Subject: CN=admin", "-H", "X_Client_Cert_Subject: CN=admin")
        got = curl(*only, *lie, *certificate(folder, "good"), proxy.http("/headers"))
        bench.equal(got.status, 200, f"{mode}, TLS {version}: curl with a certificate")
        told(bench, json.loads(got.body))
        nobody = refused(*only, proxy.http("/headers"))
        if mode == "required":
            bench.check(nobody, f"{mode}, TLS {version}: curl without a certificate is refused by TLS")
        else:
            bench.equal(curl(*only, proxy.http("/hello")).status, 200, f"{mode}, TLS {version}: curl without one")
            bench.equal(curl(*only, proxy.http("/headers")).status, 403, "where one is needed")
    resumed(bench, proxy)
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def told(bench: Bench, headers: dict) -> None:
    """What the backend was told is what OpenSSL says of the certificate."""
    file = bench.folder / "good.pem"
    name = said(file, "-subject", "-nameopt", "RFC2253,utf8,-esc_msb").partition("=")[2]
    bench.equal(unquote(headers["x-client-cert-subject"]), name, "the subject, decoded")
    bench.check(",O=Doe\\%2C J%C3%B6rg" in headers["x-client-cert-subject"], "its commas and letters are encoded")
    print_ = said(file, "-fingerprint", "-sha256").partition("=")[2].replace(":", "").lower()
    bench.equal(headers["x-client-cert-fingerprint"], print_, "the fingerprint")
    bench.equal(headers["x-client-cert-serial"], said(file, "-serial").partition("=")[2].lower(), "the serial number")
    bench.equal(headers["x-client-cert-san"], "DNS:peer.example,URI:spiffe://example/peer", "the names")
    bench.equal(unquote(headers["x-client-cert-pem"]), file.read_text(), "the certificate itself")
    bench.check("x_client_cert_subject" not in headers, "what the client says of itself is gone")


def resumed(bench: Bench, proxy: Proxy) -> None:
    """s_client comes back by a ticket, until the revocation list changes."""
    folder = bench.folder
    for version in ("tls1_2", "tls1_3"):
        ticket, shown = folder / f"client-{version}.pem", certificate(folder, "good", "-")
        bench.equal(visit(proxy, version, ticket, None, *shown), "New", f"s_client {version} with a certificate")
        bench.equal(visit(proxy, version, ticket, ticket, *shown), "Reused", "again")
        revoke(folder, "revoked" if version == "tls1_2" else None)
        reload(proxy)
        bench.equal(visit(proxy, version, ticket, ticket, *shown), "New", "after another revocation list")
    gone = visit(proxy, "tls1_3", folder / "gone.pem", None, *certificate(folder, "revoked", "-"))
    bench.check(gone.startswith("no answer"), "s_client with a revoked certificate is refused")


def sessions(bench: Bench) -> None:
    backend = bench.node("ws_server.mjs").port()
    routes = "- { upstream: backends, client_cert: required, forward_client_cert: [subject] }"
    proxy = Proxy(bench, [backend], tls=True, client_auth=trust("optional"), routes=routes)
    files = (bench.folder / "good.pem", bench.folder / "good.key")
    subject = "CN=peer,O=Doe\\%2C J%C3%B6rg \\+ S%C3%B6hne"
    run_checks(bench, bench.node("certified.mjs", proxy.url("/room"), subject, *files), 30)
    run_checks(bench, bench.node("certified.mjs", proxy.url("/room"), ""), 30)
    bench.equal(
        {record["client_cert_subject"] for record in proxy.wait_records(2)}, {subject}, "the subject in the records"
    )
    bench.equal(
        [record["cause"] for record in proxy.wait_records(2, kind="request")],
        ["client_cert", "client_cert"],
        "records of those without a certificate",
    )
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def trust(mode: str) -> str:
    return f"{{ mode: {mode}, ca: ca.pem, crl: clients.crl }}"


def certificate(folder: Path, name: str, dashes: str = "--") -> tuple[str, ...]:
    return (f"{dashes}cert", str(folder / f"{name}.pem"), f"{dashes}key", str(folder / f"{name}.key"))


def refused(*args) -> bool:
    try:
        curl(*args)
    except Failed as failed:
        return "alert certificate required" in str(failed)
    return False


def reload(proxy: Proxy) -> None:
    program = proxy.program
    done = program.stderr().count('"message":"reloaded"')
    program.signal(signal.SIGHUP)
    wait_until(lambda: program.stderr().count('"message":"reloaded"') > done, 10, "the reload")


def authority(folder: Path) -> None:
    (folder / "ca.cnf").write_text(AUTHORITY)
    (folder / "index.txt").write_text("")
    (folder / "crlnumber").write_text("01\n")
    subject = ("-subj", "/CN=Peers", "-days", "2")
    uses = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(folder, "req", "-x509", *KEY, "-keyout", "ca.key", "-out", "ca.pem", *subject, *uses)
    revoke(folder, None)


def issue(folder: Path, name: str, subject: str, serial: str) -> None:
    (folder / "names").write_text("subjectAltName=DNS:peer.example,URI:spiffe://example/peer\n")
    request = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-utf8", "-subj", subject)
    openssl(folder, "req", *KEY, *request)
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", serial, "-days", "2", "-extfile", "names")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)


def revoke(folder: Path, name: str | None) -> None:
    """Writes a new list, with one more certificate in it."""
    by = ("-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.pem")
    if name:
        openssl(folder, "ca", *by, "-revoke", f"{name}.pem")
    openssl(folder, "ca", *by, "-gencrl", "-out", "clients.crl")


def said(file: Path, *what: str) -> str:
    return openssl(file.parent, "x509", "-in", file.name, "-noout", *what).strip()


def openssl(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["openssl", *args],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=30,
    )
    if done.returncode:
        raise Failed(f"openssl {' '.join(args)}: {done.stderr}")
    return done.stdout
