#!/usr/bin/env bash
# The package's tests in an environment of their own, on an extension built as `cargo test` builds: without the command, which the tests
# of the program cover. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}

cargo build -p brenier-python --no-default-features --locked
rm -rf "$target/python"
mkdir -p "$target/python"
cp -r python/brenier python/tests python/pyproject.toml "$target/python"
cp "$target/debug/lib_brenier.so" "$target/python/brenier/_brenier.abi3.so"

[ -x "$target/python-venv/bin/python" ] || python3 -m venv "$target/python-venv"
"$target/python-venv/bin/pip" install -q numpy pytest mypy typing_extensions
export BRENIER="$PWD/$target/debug/brenier" PYTHONPATH="$PWD/$target/python"
cd "$target/python"
"../python-venv/bin/mypy" --strict --ignore-missing-imports brenier
"../python-venv/bin/python" -m pytest -q -p no:cacheprovider --doctest-modules --doctest-ignore-import-errors brenier tests "$@"
