"""Checks the minimum Rust version as far as one toolchain can: nothing in the tree may ask for a newer one than ours.

With the toolchain of that version installed (rustup), the package is compiled by it too. Clippy, which runs before,
reads `rust-version` from Cargo.toml and reports parts of std that are newer (`clippy::incompatible_msrv`)."""

import json
import subprocess
import sys


def main() -> int:
    metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1").stdout)
    root = next(package for package in metadata["packages"] if package["id"] == metadata["resolve"]["root"])
    ours = root["rust_version"]
    if ours is None:
        print("Cargo.toml states no rust-version")
        return 1
    asked = [(numbers(package["rust_version"]), package) for package in metadata["packages"] if package["rust_version"]]
    newer = [package for version, package in asked if version > numbers(ours)]
    for package in newer:
        print(
            f"{package['name']} {package['version']} asks for Rust {package['rust_version']}, longwire promises {ours}"
        )
    if newer:
        return 1
    silent = len(metadata["packages"]) - len(asked)
    print(f"rust-version {ours}: none of {len(asked)} packages asks for a newer one ({silent} do not say)")
    return compile_with(ours)


def compile_with(version: str) -> int:
    """Compiles with that very toolchain where rustup has it."""
    toolchains = run("rustup", "toolchain", "list").stdout.split()
    toolchain = next((name for name in toolchains if name.startswith(version)), None)
    if toolchain is None:
        print(f"NOT CHECKED: a build by Rust {version} itself (that toolchain is not installed)")
        return 0
    return subprocess.run(
        ["cargo", f"+{toolchain}", "check", "--locked", "--target-dir", "target/msrv"], check=False
    ).returncode


def numbers(version: str) -> tuple[int, ...]:
    """`1.89` as (1, 89, 0), to compare."""
    parts = [int(part) for part in version.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def run(*command: str) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", "")
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(command)}: {error.stderr}")


if __name__ == "__main__":
    sys.exit(main())
