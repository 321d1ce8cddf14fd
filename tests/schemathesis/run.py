"""Starts a stack, and lets Schemathesis hold it against the contract; arguments are handed to it."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
VERSION = "4.32.5"
TOOLS = ROOT / ".connects/tools/schemathesis"
STATE = ROOT / ".connects/schemathesis/stack.json"
# As long as a build from nothing may take.
PATIENCE = 1800


def main():
    install()
    stack = subprocess.Popen(
        ["cargo", "local", "up", "--port", str(free_port()), "--state", STATE],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        # A group of its own: cargo and what it runs end together, and nothing else does.
        start_new_session=True,
    )
    try:
        url = started(stack)
        token = cargo_local("token", "--scope", "connects connects:service connects:admin",
                            "--account", "ana", "--account", "ben")
        furnish(url, token)
        # In its own folder, where its settings are; what it keeps, it keeps in ours.
        checked = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/v1/openapi.json",
             *sys.argv[1:]],
            cwd=HERE,
            env={**os.environ, "CONNECTS_TOKEN": token, "PYTHONPATH": str(TOOLS), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        return checked.returncode
    finally:
        os.killpg(stack.pid, signal.SIGINT)
        stack.wait()


def install():
    if (TOOLS / f"schemathesis-{VERSION}.dist-info").exists():
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action",
           "ignore", "--no-warn-conflicts", "--upgrade", "--target", TOOLS, f"schemathesis=={VERSION}"]
    subprocess.run(pip, check=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def started(stack):
    """Its address, once it answers."""
    STATE.parent.mkdir(parents=True, exist_ok=True)
    STATE.unlink(missing_ok=True)
    until = time.monotonic() + PATIENCE
    while not STATE.exists():
        if stack.poll() is not None or time.monotonic() > until:
            sys.exit("the stack did not start")
        time.sleep(0.2)
    return json.loads(STATE.read_text())["url"]


def cargo_local(*arguments):
    told = subprocess.run(["cargo", "--quiet", "local", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return told.stdout.decode().strip()


def furnish(url, token):
    """What the ids that hooks.py knows are of."""
    terms = {"kind": "grant", "quantity": 5, "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2100-01-01T00:00:00Z"}
    for path, body in [
        ("accounts/ana", {"kind": "freelancer", "person_id": "ana"}),
        ("accounts/ben", {"kind": "agency", "person_id": "ben"}),
        ("jobs/dig", {"posted_at": "2026-01-10T12:00:00Z", "connects_required": 1}),
        ("jobs/paint", {"posted_at": "2026-01-10T12:00:00Z", "contract_kind": "fixed"}),
        ("promos/SPRING-26", terms),
    ]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        asked = urllib.request.Request(f"{url}/v1/{path}", json.dumps(body).encode(), headers, method="PUT")
        urllib.request.urlopen(asked, timeout=20).close()


if __name__ == "__main__":
    sys.exit(main())
