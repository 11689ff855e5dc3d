// Does a piece of work again and again, but only where its pod leads. It asks the sidecar beside it before each piece.
import { setTimeout as pause } from "node:timers/promises";

const sidecar = process.env.SIDECAR ?? "http://localhost:8088";
const stop = new AbortController();
// As process 1 of a container, Node would ignore SIGTERM, and the sidecar lets go only when this program has ended.
for (const name of ["SIGTERM", "SIGINT"]) process.once(name, () => stop.abort());

// The term in which this pod leads, the pod's name, and for how many milliseconds that is certain; null in any doubt.
async function leadership() {
  const asked = performance.now();
  try {
    // One answer, so all of it is of one moment. A frozen sidecar accepts connections, and never answers.
    const answer = await fetch(`${sidecar}/v1/state`, { signal: AbortSignal.timeout(1000) });
    if (!answer.ok) return null;
    const { leads, name, role } = await answer.json();
    if (!leads) return null;
    // A sidecar says yes for two thirds of the duration after a renewal. So a third is left, counted from before the question;
    // less only if the sidecar was frozen, and answered before it looked at its clock.
    const third = role.lease.durationMs / 3 - (performance.now() - asked);
    const left = Math.floor(Math.min(third, role.lease.validUntilUnixMs - Date.now()));
    return left > 0 ? { term: role.term, name, left } : null;
  } catch {
    return null;
  }
}

// One piece of work. It must not outlive its signal (pass it on, to `fetch` and the like): after that another pod may lead.
async function work(term, name, signal) {
  signal.throwIfAborted();
  console.log(`term ${term}: ${name} works`);
}

while (!stop.signal.aborted) {
  const now = await leadership();
  if (now) await work(now.term, now.name, AbortSignal.timeout(now.left)).catch(console.error);
  await pause(500, undefined, { signal: stop.signal }).catch(() => {});
}
