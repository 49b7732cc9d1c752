import { GantryError } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { LocalVolumes } from "./local.ts";
import { named, READER, type VolumeUser, type VolumeUsers } from "./users.ts";

/** What is done about containers that may write to a volume while it is copied. */
export type Writers = "refuse" | "pause" | "ignore";

/** Containers may be started between a look at them and the lock; who loses so often is told. */
const MOST_TRIES = 5;

/**
 * Runs `act` while nobody writes to a volume: containers that run with it, unless they have it read-only, are a reason
 * to refuse, or stand still meanwhile. Nobody can begin to use it before `act` is over.
 */
export async function quietly<T>(
  { local, users }: { readonly local: LocalVolumes; readonly users: VolumeUsers },
  name: string,
  writers: Writers,
  verb: string,
  act: () => Promise<T>,
): Promise<T> {
  const doing = "it is being copied";
  if (writers === "ignore") return local.exclusively(name, doing, { mounted: true }, act);
  for (let tries = 1; ; tries++) {
    const busy = users.of(name).filter(({ isRunning, isPaused, isWriter }) => isRunning && isWriter && !isPaused);
    if (busy.length > 0 && writers === "refuse") throw writtenTo(name, verb, busy);
    await using _paused = await users.pause(busy.map(({ id }) => id));
    failpoint("volumes.copy.paused");
    // Copies of files under way, and containers that have just ended: they are gone soon.
    const isRunning = (holder: string) => users.of(name).some((user) => user.id === holder && user.isRunning);
    await local.settled(name, (holder) => !holder.startsWith(READER) && !isRunning(holder));
    const result = await local.exclusively(name, doing, { mounted: true }, async () => {
      const still = users.of(name);
      const isQuiet = (holder: string): boolean => {
        if (holder.startsWith(READER)) return true;
        const user = still.find(({ id }) => id === holder);
        return user?.isRunning === true && (user.isPaused || !user.isWriter);
      };
      if (!local.holdersOf(name).every(isQuiet)) return undefined;
      return { done: await act() };
    });
    if (result !== undefined) return result.done;
    if (tries === MOST_TRIES) {
      throw new GantryError(
        "conflict",
        `cannot ${verb} volume ${name}: containers are being started with it: try again`,
      );
    }
  }
}

function writtenTo(name: string, verb: string, writers: readonly VolumeUser[]): GantryError {
  const are =
    writers.length === 1 ? "is running with it and may write to it" : "are running with it and may write to it";
  const remedy = "stop what runs, or have it stand still by --pause, or take the files as they are by --force";
  return new GantryError("conflict", `cannot ${verb} volume ${name}: ${named(writers)} ${are}: ${remedy}`);
}

/** Waits until nobody holds a volume; `conflict` if containers run with it. */
export async function refuseUsed(
  { local, users }: { readonly local: LocalVolumes; readonly users: VolumeUsers },
  name: string,
  verb: string,
): Promise<void> {
  const refuse = () => {
    const running = users.of(name).filter(({ isRunning }) => isRunning);
    if (running.length === 0) return;
    const are = running.length === 1 ? "is running with it: stop it first" : "are running with it: stop them first";
    throw new GantryError("conflict", `cannot ${verb} volume ${name}: ${named(running)} ${are}`);
  };
  refuse();
  await local.settled(name, () => true);
  refuse();
}

/** The same at the instant, for within the lock. */
export function refuseHeld(
  { local, users }: { readonly local: LocalVolumes; readonly users: VolumeUsers },
  name: string,
  verb: string,
): void {
  const held = local.holdersOf(name);
  if (held.length === 0) return;
  const by = named(users.of(name).filter(({ id }) => held.includes(id)));
  throw new GantryError("conflict", `cannot ${verb} volume ${name}: it is in use${by === "" ? "" : ` by ${by}`}`);
}
