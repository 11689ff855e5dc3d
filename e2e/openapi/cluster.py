"""A store to ask: one pod of `e2e demo`, on loopback ports that are free. It ends with the block that uses it."""

import contextlib
import ctypes
import json
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

PR_SET_PDEATHSIG = 1


def _end_with_the_parent():
    # Also if this program is killed: the demo then gets the signal that ends it and its pods.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def running(programs, log):
    """The base URL of a store that leads."""
    command = [programs / "e2e", "demo", "--plain", "--free-ports", "--replicas", "1"]
    # A session of its own: Ctrl-C reaches this program alone, which ends the demo when it is done with it.
    demo = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_end_with_the_parent,
    )
    try:
        yield _leader(demo, log)
    finally:
        demo.terminate()
        try:
            demo.wait(30)
        except subprocess.TimeoutExpired:
            demo.kill()  # its guard ends the pods
            demo.wait()


def _leader(demo, log):
    """Waits for the pod that the demo prints."""
    said = open(log, "w")
    for line in demo.stdout:
        said.write(line)
        found = re.match(r"\s+0\s+127\.0\.0\.1:(\d+)\s", line)
        if found:
            base = f"http://127.0.0.1:{found.group(1)}"
            break
    else:
        raise SystemExit(f"e2e demo ended with {demo.wait()}: see {log}")

    def drain():
        with said:
            said.writelines(demo.stdout)

    threading.Thread(target=drain, daemon=True).start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, urllib.error.URLError):
            with urllib.request.urlopen(f"{base}/api/leader", timeout=2) as answer:
                # A leader that writes format 2: a new cluster of one pod begins with it.
                if json.load(answer)["isLeader"]:
                    return base
        time.sleep(0.1)
    raise SystemExit(f"{base} did not lead within a minute: see {log}")


def ask(method, url, body=None):
    """Status and JSON of one request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
