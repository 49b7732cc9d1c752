import { readFileSync } from "node:fs";
import { totalmem } from "node:os";

const NANOS_PER_TICK = 10_000_000;

/** What a sample says of the whole machine. */
export interface Machine {
  /** Nanoseconds of all CPUs, idle ones included. */
  readonly cpuNanos: number;
  readonly cpus: number;
  readonly memoryBytes: number;
}

/** One reading for all containers of a round. */
export function readMachine(): Machine {
  return { ...parseProcStat(readFileSync("/proc/stat", "latin1")), memoryBytes: totalmem() };
}

/** user, nice, system, idle, iowait, irq, softirq: those that Docker adds up, in ticks of 10 ms. */
export function parseProcStat(text: string): { readonly cpuNanos: number; readonly cpus: number } {
  const ticks = text.slice(0, text.indexOf("\n")).split(/\s+/).slice(1, 8);
  const cpuNanos = ticks.reduce((sum, each) => sum + Number(each), 0) * NANOS_PER_TICK;
  return { cpuNanos, cpus: text.match(/^cpu\d+ /gm)?.length ?? 1 };
}
