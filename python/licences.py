"""Writes the licences of all crates in the wheel, each text once; with --check says whether the file is as it should be.

    python licences.py          # after a change of Cargo.lock
"""

import hashlib
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
FILE = HERE / "THIRD-PARTY-LICENSES.txt"
NAMES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")


def crates():
    """The packages that the extension is linked from, on Linux, without our own."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, cwd=HERE, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(package["id"] for package in packages.values() if package["name"] == "brenier-python")
    found, open_ = set(), [root]
    while open_:
        identity = open_.pop()
        if identity in found:
            continue
        found.add(identity)
        for dependency in nodes[identity]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                open_.append(dependency["pkg"])
    return sorted((packages[i] for i in found if packages[i]["source"]), key=lambda package: (package["name"], package["version"]))


def text():
    lines = ["The crates that the extension of this package is linked from, and their licences.", ""]
    texts, holders = {}, {}
    for package in crates():
        name = f"{package['name']} {package['version']}"
        lines.append(f"{name}: {package['license']}")
        folder = pathlib.Path(package["manifest_path"]).parent
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.upper().startswith(NAMES)]
        # Where one may choose, the short one is chosen.
        chosen = [path for path in files if "MIT" in path.name.upper()] if "MIT" in package["license"] else []
        for path in chosen or files:
            content = "\n".join(line.rstrip() for line in path.read_text(encoding="utf-8", errors="replace").strip().splitlines())
            key = hashlib.sha256(" ".join(content.split()).encode()).hexdigest()
            texts.setdefault(key, content)
            holders.setdefault(key, []).append(name)
    for key, content in texts.items():
        lines += ["", "=" * 80, ", ".join(dict.fromkeys(holders[key])), "=" * 80, "", content]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text(encoding="utf-8") != text():
            sys.exit(f"{FILE.name} is not that of Cargo.lock; run python {pathlib.Path(__file__).name}")
    else:
        FILE.write_text(text(), encoding="utf-8")
