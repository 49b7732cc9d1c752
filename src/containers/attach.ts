import type { Duplex } from "node:stream";
import { drained } from "../base/drained.ts";
import { GantryError } from "../base/errors.ts";
import { headRead } from "../runtime/head-wait.ts";
import type { AttachOptions } from "./controller.ts";
import { parseDetachKeys } from "./detach-keys.ts";
import { publishContainerEvent } from "./event.ts";
import { logStream, logTargetOf, readableLogOf } from "./log.ts";
import type { ContainerPorts } from "./ports.ts";
import type { Entry } from "./table.ts";

/** Joins a client to a container's streams: first what was printed before, if it asks for that, then what comes. */
export async function attachContainer(ports: ContainerPorts, entry: Entry, options: AttachOptions): Promise<void> {
  const { record, transient } = entry;
  const { id, state } = record;
  if (state.status === "running" && state.paused) {
    throw new GantryError("conflict", `container ${id} is paused, unpause the container before attach`);
  }
  if (transient.restarting) {
    throw new GantryError("conflict", `container ${id} is restarting, wait until the container is running`);
  }
  const tty = record.config.Tty;
  const detachKeys = parseDetachKeys(options.detachKeys);
  const { socket, head, preamble } = options.hijack({ multiplexed: !tty });
  let greeting = preamble;
  if (options.logs) {
    await write(socket, preamble);
    await headRead(socket);
    greeting = new Uint8Array();
    await replay(ports, entry, options, socket);
  }
  if (!options.stream) {
    if (greeting.length > 0) await write(socket, greeting);
    socket.end();
    return;
  }
  const session = ports.runtime.attach({
    id,
    execId: undefined,
    stdin: options.stdin && record.config.OpenStdin,
    stdout: options.stdout,
    stderr: options.stderr,
    multiplexed: !tty,
    detachKeys: tty ? detachKeys : new Uint8Array(),
    socket,
    head,
    preamble: greeting,
  });
  await session.ready;
  publishContainerEvent(ports.events, record, "attach");
  if ((await session.done) === "detached") publishContainerEvent(ports.events, entry.record, "detach");
}

async function replay(ports: ContainerPorts, entry: Entry, options: AttachOptions, socket: Duplex): Promise<void> {
  // Docker says nothing of a log that can't be read when somebody attaches.
  if (logTargetOf(entry.record, ports.settings()) === undefined) return;
  const target = readableLogOf(entry.record, ports.settings());
  const past = { stdout: options.stdout, stderr: options.stderr, signal: options.signal };
  const whole = {
    since: undefined,
    until: undefined,
    timestamps: false,
    tail: undefined,
    follow: false,
    details: false,
    joined: true,
  };
  const stream = logStream(target, entry.record.config.Tty, { ...whole, ...past }, "", Promise.resolve());
  for await (const chunk of stream) await write(socket, chunk);
}

/** Writes and, when the client is slow, waits until it has caught up or is gone. */
async function write(socket: Duplex, bytes: Uint8Array): Promise<void> {
  if (!socket.destroyed && !socket.write(bytes)) await drained(socket);
}
