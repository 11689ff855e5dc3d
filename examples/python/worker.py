"""Does a piece of work again and again, but only where its pod leads. It reads role.json before each piece."""

import json
import os
import signal
import sys
import time

ROLE_FILE = os.environ.get("LEASEHOLD_ROLE_FILE", "/run/leasehold/role.json")
PIECE_NS = 500_000_000  # no piece of work takes longer
BOOT_ID = open("/proc/sys/kernel/random/boot_id").read().strip()


def leadership():
    """The role file's content if this pod leads for as long as a piece of work takes; otherwise None."""
    try:
        with open(ROLE_FILE, encoding="utf-8") as file:
            role = json.load(file)
        lease = role["lease"]
        # CLOCK_BOOTTIME also counts while the machine is suspended; time.monotonic() does not.
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        until = lease["validUntilBoottimeNs"]
        leads = (
            role["version"] == 1
            and role["role"] == "leader"
            and role["bootId"] == BOOT_ID  # else the stamp is of the machine's last life
            # Nobody renews a file: it says `leader` also when its sidecar is frozen or dead. The time tells.
            and now + PIECE_NS < until <= now + lease["durationMs"] * 1_000_000
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not written yet, or unreadable: in any doubt another pod leads
    return role if leads else None


def work(term, pod):
    print(f"term {term}: {pod} works", flush=True)


def main():
    # As process 1 of a container, Python would ignore SIGTERM, and the sidecar lets go only when this program has ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        role = leadership()
        if role:
            work(role["term"], role["self"])
        time.sleep(0.5)


main()
