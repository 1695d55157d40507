"""Lays out an OCI image of a static program, without a daemon: one layer, the same bytes for the same program.

    python3 deploy/image.py --binary target/dist/longwire-0.2.0-x86_64-unknown-linux-gnu-static \\
        --version 0.2.0 --commit "$(git rev-parse HEAD)" --licence LICENSE --licences target/dist/licences.txt \\
        --output target/dist/image
    skopeo copy oci:target/dist/image:0.2.0 docker://REGISTRY/longwire:0.2.0

In the image are the program, its licences, the authorities that this machine trusts (for `ca: system`), a user without power,
and nothing else. The program carries the list of its dependencies (cargo-auditable), and the image has it once more as text, for
readers that look at files only.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import struct
import tarfile
import time
import zlib

USER = 65532
# Where the demo has its certificate.
SCRATCH = "tmp"
AUTHORITIES = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
MACHINES = {62: "amd64", 183: "arm64"}
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def sections(elf: bytes) -> dict[str, bytes]:
    """The sections of a 64-bit little-endian ELF file, by name."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise SystemExit("the program is no 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names_at = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + place * size) for place in range(count)]
    names = headers[names_at]
    text = elf[names[4] : names[4] + names[5]]
    found = {}
    for name, kind, _, _, offset, length in headers:
        # A section of zeros has no bytes in the file.
        if kind != 8:
            found[text[name : text.index(b"\0", name)].decode()] = elf[offset : offset + length]
    return found


def dependencies(elf: bytes) -> bytes:
    """The list of dependencies that cargo-auditable put into the program."""
    packed = sections(elf).get(".dep-v0")
    if packed is None:
        raise SystemExit("the program has no list of dependencies: build it by deploy/build static")
    return json.dumps(json.loads(zlib.decompress(packed)), indent=1).encode() + b"\n"


def layer(files: dict[str, tuple[int, bytes]], when: int) -> bytes:
    """A tar of these files and the folders above them, in the order of their names."""
    folders = {str(parent) for name in files for parent in pathlib.PurePosixPath(name).parents} - {"."} | {SCRATCH}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(folders | files.keys()):
            entry = tarfile.TarInfo(name)
            entry.mtime = when
            if name in folders:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == SCRATCH else 0o755
                tar.addfile(entry)
            else:
                entry.mode, content = files[name]
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


class Layout:
    """A folder in the form of the OCI image layout."""

    def __init__(self, folder: pathlib.Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def write(self, name: str, value: dict) -> None:
        (self.folder / name).write_text(json.dumps(value, sort_keys=True, separators=(",", ":")))

    def blob(self, kind: str, content: bytes | dict) -> dict:
        """Adds a blob. Returns how others name it."""
        if isinstance(content, dict):
            content = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def main() -> None:
    arguments = argparse.ArgumentParser(description="Lays out an OCI image of a static program.")
    for name in ("binary", "licence", "licences", "output"):
        arguments.add_argument(f"--{name}", type=pathlib.Path, required=True)
    for name in ("version", "commit"):
        arguments.add_argument(f"--{name}", required=True)
    options = arguments.parse_args()
    when = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
    program = options.binary.read_bytes()
    if ".interp" in sections(program):
        raise SystemExit("the program asks for a loader, and the image has none: build it by deploy/build static")
    machine = MACHINES[struct.unpack_from("<H", program, 18)[0]]
    if not AUTHORITIES.exists():
        raise SystemExit(f"MISSING: {AUTHORITIES} (apt-get install ca-certificates)")
    files = {
        "usr/local/bin/longwire": (0o755, program),
        "etc/ssl/certs/ca-certificates.crt": (0o644, AUTHORITIES.read_bytes()),
        "etc/passwd": (0o644, f"root:x:0:0:root:/:/none\nlongwire:x:{USER}:{USER}:longwire:/:/none\n".encode()),
        "etc/group": (0o644, f"root:x:0:\nlongwire:x:{USER}:\n".encode()),
        "etc/nsswitch.conf": (0o644, b"hosts: files dns\n"),
        "usr/share/doc/longwire/LICENSE": (0o644, options.licence.read_bytes()),
        "usr/share/doc/longwire/licences.txt": (0o644, options.licences.read_bytes()),
        "usr/share/doc/longwire/dependencies.json": (0o644, dependencies(program)),
    }
    tar = layer(files, when)
    layout = Layout(options.output)
    labels = {
        "org.opencontainers.image.title": "longwire",
        "org.opencontainers.image.description": "A reverse proxy that keeps WebSockets alive and says why they end",
        "org.opencontainers.image.version": options.version,
        "org.opencontainers.image.revision": options.commit,
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.created": created,
    }
    config = {
        "architecture": machine,
        "os": "linux",
        "created": created,
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/usr/local/bin/longwire"],
            "Cmd": ["run", "-c", "/etc/longwire/proxy.yaml"],
            "ExposedPorts": {"8080/tcp": {}, "8443/tcp": {}},
            # Starts the drain; whoever stops the container waits longer than `timeouts.drain`.
            "StopSignal": "SIGTERM",
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
        "history": [{"created": created, "created_by": "deploy/image.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.blob(CONFIG, config),
        "layers": [layout.blob(LAYER, gzip.compress(tar, 9, mtime=0))],
        "annotations": labels,
    }
    named = layout.blob(MANIFEST, manifest)
    named["annotations"] = {"org.opencontainers.image.ref.name": options.version}
    named["platform"] = {"architecture": machine, "os": "linux"}
    layout.write("index.json", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]})
    print(f"{options.output}: {named['digest']}, {len(program) >> 10} KiB program, {len(tar) >> 10} KiB in all")


if __name__ == "__main__":
    main()
