"""make openapi: validates /openapi.json, uses a client that is generated from it, and runs Schemathesis. See README.md."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import cluster

HERE = pathlib.Path(__file__).parent
CLIENT = "store_client"


def main():
    arguments = argparse.ArgumentParser(prog="make openapi", description=__doc__)
    arguments.add_argument("--programs", type=pathlib.Path, required=True, help="the folder of store, sidecar and e2e")
    arguments.add_argument("--work", type=pathlib.Path, required=True, help="where logs, document and client go")
    arguments.add_argument("--quick", action="store_true", help="without Schemathesis")
    arguments.add_argument("--seconds", type=int, default=150, help="how long Schemathesis may take")
    arguments.add_argument("--seed", type=int, default=1, help="of Schemathesis")
    args = arguments.parse_args()
    # As an exception, so that what was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with cluster.running(args.programs, args.work / "demo.log") as base:
        define(base)
        document = fetch(base, args.work)
        failures = [
            *step("a validator", lambda: run(["openapi-spec-validator", document])),
            *step("a client in Python", lambda: generate(document, args.work)),
            *step("its test", lambda: run([sys.executable, HERE / "client_test.py", base], PYTHONPATH=args.work)),
        ]
        # Calls alone, and then calls that follow from others: in two runs, so that the first leaves time for the second.
        if not args.quick:
            phases = "examples,coverage,fuzzing"
            failures += step("Schemathesis", lambda: schemathesis(base, args, phases, args.seconds * 2 // 3))
            failures += step("Schemathesis, stateful", lambda: schemathesis(base, args, "stateful", args.seconds // 3))
    if failures:
        sys.exit(f"make openapi: {'; '.join(failures)}")


def step(name, do):
    began = time.monotonic()
    print(f"==> {name}", flush=True)
    done = do()
    print(f"<== {name}: {time.monotonic() - began:.0f} s", flush=True)
    return done


def run(command, directory=None, **environment):
    environment = os.environ | {name: str(value) for name, value in environment.items()}
    code = subprocess.run([str(word) for word in command], cwd=directory, env=environment).returncode
    return [] if code == 0 else [f"{pathlib.Path(command[0]).name} ended with {code}"]


def define(base):
    for name, definition in json.loads((HERE / "collections.json").read_text()).items():
        status, said = cluster.ask("PUT", f"{base}/api/collections/{name}", definition)
        if status != 201:
            sys.exit(f"make openapi: {name} could not be defined: {status} {said}")


def fetch(base, work):
    status, document = cluster.ask("GET", f"{base}/openapi.json")
    assert status == 200, document
    path = work / "openapi.json"
    path.write_text(json.dumps(document, indent=1))
    return path


def generate(document, work):
    shutil.rmtree(work / CLIENT, ignore_errors=True)
    command = ["openapi-python-client", "generate", "--path", document, "--meta", "none"]
    return run([*command, "--output-path", work / CLIENT, "--config", HERE / "client.yaml"])


def schemathesis(base, args, phases, seconds):
    command = ["schemathesis", "--config-file", HERE / "schemathesis.toml", "run", f"{base}/openapi.json"]
    flags = [f"--phases={phases}", f"--max-time={seconds}", f"--seed={args.seed}"]
    # HERE: the hooks lie beside the configuration.
    return run([*command, *flags], directory=args.work, HERE=HERE)


if __name__ == "__main__":
    main()
