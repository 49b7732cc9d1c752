// A thread that unpacks layers. What it is told and tells is in unpack-messages.ts.
import { constants, getPriority, setPriority } from "node:os";
import { setImmediate as nextTurn } from "node:timers/promises";
import { parentPort } from "node:worker_threads";
import { cancelled } from "../../base/abort.ts";
import { failureOf, UnpackJob } from "./unpack-job.ts";
import type { FromWorker, ToWorker } from "./unpack-messages.ts";

/** Milliseconds that one job has before the others and the messages have their turn. */
const TURN_MS = 20;
const TELL_MS = 100;
/** How much nicer than the engine's own thread, which answers everybody: it needs little, and that at once. */
const NICER = 5;

interface Running {
  readonly job: UnpackJob;
  told: number;
}

const port = parentPort;
if (port === null) throw new Error("this is a thread of the engine's, not a program");
const tell = (message: FromWorker): void => port.postMessage(message);
const running = new Map<number, Running>();
let isBusy = false;
/** Processor time that was told; the thread's start is the first layer's. */
let toldCpu: NodeJS.CpuUsage | undefined;

// Of this thread alone, in spite of what Node calls it (setpriority(2), "C library/kernel differences").
setPriority(0, Math.min(constants.priority.PRIORITY_LOW, getPriority() + NICER));

port.on("message", (message: ToWorker) => {
  if (message.do === "begin") begin(message.id, message.order);
  else if (message.do === "abort") end(message.id, cancelled());
  else running.get(message.id)?.job.offer(message.available);
  if (!isBusy) void work();
});

function begin(id: number, order: ConstructorParameters<typeof UnpackJob>[0]): void {
  try {
    running.set(id, { job: new UnpackJob(order), told: performance.now() });
  } catch (error) {
    tell({ did: "fail", id, failure: failureOf(error) });
  }
}

function end(id: number, error: unknown): void {
  const job = running.get(id)?.job;
  running.delete(id);
  if (job === undefined) return;
  let failure = failureOf(error);
  try {
    job.close({ empty: true });
  } catch (closing) {
    // What can't be removed here is tried again by whoever discards the folder.
    if (failure.kind === "cancelled") failure = failureOf(closing);
  }
  tell({ did: "fail", id, failure });
}

async function work(): Promise<void> {
  isBusy = true;
  for (let found = true; found; ) {
    found = false;
    for (const [id, { job }] of running) {
      if (job.isWaiting) continue;
      found = true;
      try {
        await advance(id, job);
      } catch (error) {
        end(id, error);
      }
      await nextTurn();
    }
  }
  isBusy = false;
}

async function advance(id: number, job: UnpackJob): Promise<void> {
  const until = performance.now() + TURN_MS;
  while (!job.isWaiting && !job.isWhole && performance.now() < until) job.step();
  if (job.isWhole) {
    const unpacked = await job.finish();
    // It may have been aborted meanwhile.
    if (!running.delete(id)) return;
    job.close({ empty: false });
    tellCpu(id);
    tell({ did: "end", id, result: unpacked });
    return;
  }
  job.pause();
  const own = running.get(id);
  if (own === undefined || until - own.told < TELL_MS) return;
  own.told = until;
  tell({ did: "news", id, news: { read: job.read } });
}

function tellCpu(id: number): void {
  const { user, system } = process.threadCpuUsage(toldCpu);
  toldCpu = process.threadCpuUsage();
  tell({ did: "news", id, news: { cpuMs: (user + system) / 1000 } });
}
