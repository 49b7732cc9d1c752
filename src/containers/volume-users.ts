import type { HostConfig, Mount } from "../api/container.ts";
import { isKind } from "../base/errors.ts";
import type { Place, VolumeUser, VolumeUsers } from "../volumes/users.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { ContainerRecord, ResolvedMount } from "./record.ts";
import type { ContainerTable, Entry } from "./table.ts";

interface Parts {
  readonly table: ContainerTable;
  readonly lifecycle: Lifecycle;
}

/** The containers as those who take care of volumes ask for them. */
export function volumeUsers({ table, lifecycle }: Parts): VolumeUsers {
  const entriesOf = (volume: string) =>
    table.all().filter(({ record }) => record.mounts.some((mount) => isOf(mount, volume)));
  return {
    of: (volume) => entriesOf(volume).map(({ record }) => userOf(record, volume)),
    pause: (ids) =>
      pauseAll(
        lifecycle,
        ids.flatMap((id) => table.get(id) ?? []),
      ),
    renamed: (from, to) => {
      const before = entriesOf(from.name).map((entry) => ({ entry, record: entry.record }));
      for (const { entry, record } of before) table.update(entry, renamed(record, from, to));
      return () => {
        for (const { entry, record } of before) entry.record = record;
      };
    },
  };
}

function isOf({ type, name }: ResolvedMount, volume: string): boolean {
  return type === "volume" && name === volume;
}

function userOf({ id, name, state, mounts }: ContainerRecord, volume: string): VolumeUser {
  return {
    id,
    name,
    isRunning: state.status === "running",
    isPaused: state.status === "running" && state.paused,
    isWriter: mounts.some((mount) => isOf(mount, volume) && !mount.readonly),
  };
}

async function pauseAll(lifecycle: Lifecycle, entries: readonly Entry[]): Promise<AsyncDisposable> {
  await using undo = new AsyncDisposableStack();
  for (const entry of entries) {
    try {
      await lifecycle.pause(entry, "volume");
    } catch (error) {
      // It has ended, or somebody else has paused it: it doesn't write.
      if (isKind(error, "conflict") && !isUp(entry)) continue;
      throw error;
    }
    undo.defer(async () => {
      // It may have been killed meanwhile, or let go on by somebody.
      if (isUp(entry, true)) await lifecycle.unpause(entry);
    });
  }
  return undo.move();
}

function isUp({ record: { state } }: Entry, paused = false): boolean {
  return state.status === "running" && state.paused === paused;
}

function renamed(record: ContainerRecord, from: Place, to: Place): Partial<ContainerRecord> {
  const asked = (mount: Mount): Mount =>
    mount.Type === "volume" && mount.Source === from.name ? { ...mount, Source: to.name } : mount;
  const mount = (each: ResolvedMount): ResolvedMount =>
    !isOf(each, from.name)
      ? each
      : {
          ...each,
          name: to.name,
          source: `${to.mountpoint}${each.source.slice(from.mountpoint.length)}`,
          // Who gives it a name wants to keep it.
          anonymous: false,
          ...(each.from !== undefined && { from: asked(each.from) }),
        };
  const hostConfig: HostConfig = {
    ...record.hostConfig,
    Binds: record.hostConfig.Binds?.map((bind) => renamedBind(bind, from.name, to.name)) ?? null,
    ...(record.hostConfig.Mounts && { Mounts: record.hostConfig.Mounts.map(asked) }),
  };
  return { mounts: record.mounts.map(mount), hostConfig };
}

function renamedBind(bind: string, from: string, to: string): string {
  return bind.startsWith(`${from}:`) ? `${to}${bind.slice(from.length)}` : bind;
}
