import { messageOf } from "../../base/errors.ts";
import type { Hijacked } from "../../client/client.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { complain, printLine } from "../output/print.ts";
import type { CreateBody } from "../run/body.ts";
import { createContainer, requestOf } from "../run/create-container.ts";
import { startFailureCode } from "../run/exit-code.ts";
import { RUN_FLAGS } from "../run/flags.ts";
import { beginWait } from "../run/wait.ts";
import { DEFAULT_KEYS, parseKeys } from "../streams/keys.ts";
import { runSession } from "../streams/session.ts";
import { forwardSignals } from "../streams/signals.ts";
import { isTerminal, terminalSize, watchSize } from "../streams/terminal.ts";
import { withHelp } from "./create.ts";

export const run: Command = {
  usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
  args: { rule: "at-least", count: 1 },
  interspersed: false,
  flags: RUN_FLAGS,
  async run(call) {
    const detach = call.flags.bool("detach");
    const body = await requestFor(call, detach);
    let id: string;
    try {
      id = await createContainer(call, body);
    } catch (error) {
      throw failure(error);
    }
    return detach ? await startDetached(call, id) : await startAttached(call, id, body);
  },
};

async function requestFor(call: Call, detach: boolean): Promise<CreateBody> {
  let body: CreateBody;
  try {
    body = await requestOf(call);
    if (call.flags.text("detach-keys") !== "") parseKeys(call.flags.text("detach-keys"));
  } catch (error) {
    throw new ExitError(125, withHelp(messageOf(error), "gantry run"));
  }
  if (detach) {
    if (call.flags.changed("attach")) {
      throw new ExitError(1, "conflicting options: cannot specify both --attach and --detach");
    }
    return { ...body, AttachStdin: false, AttachStdout: false, AttachStderr: false, StdinOnce: false };
  }
  if (body.Tty && body.AttachStdin && !isTerminal(0)) throw new ExitError(1, "the input device is not a TTY");
  // The first screen is then drawn at its size, without waiting for the resize that follows the start.
  const size = body.Tty ? terminalSize() : undefined;
  return size === undefined ? body : { ...body, HostConfig: { ...body.HostConfig, ConsoleSize: [size[0], size[1]] } };
}

function failure(error: unknown): ExitError {
  const text = errorLine(error);
  return new ExitError(startFailureCode(text), withHelp(text, "gantry run"));
}

async function startDetached(call: Call, id: string): Promise<number> {
  try {
    await call.client.done("POST", `/containers/${id}/start`);
  } catch (error) {
    throw failure(error);
  }
  printLine(id);
  return 0;
}

async function startAttached(call: Call, id: string, body: CreateBody): Promise<number> {
  const { client, flags } = call;
  const keys = flags.text("detach-keys") || (call.settings.config().detachKeys ?? "");
  const attaches = body.AttachStdin || body.AttachStdout || body.AttachStderr;
  const stopSignals =
    flags.bool("sig-proxy") && !body.Tty
      ? forwardSignals(
          (signal) => void client.done("POST", `/containers/${id}/kill`, { query: { signal } }).catch(() => {}),
        )
      : () => {};
  let hijacked: Hijacked | undefined;
  try {
    const attaching = attaches
      ? client.hijack(`/containers/${id}/attach`, {
          query: {
            stream: true,
            stdin: body.AttachStdin,
            stdout: body.AttachStdout,
            stderr: body.AttachStderr,
            detachKeys: keys,
          },
        })
      : undefined;
    // Both before the start: nothing that the container prints, and no exit however soon, is missed.
    const waiting = beginWait(client, id, flags.bool("rm") ? "removed" : "next-exit");
    waiting.catch(() => {});
    hijacked = await attaching;
    const wait = await waiting;
    const session =
      hijacked === undefined
        ? undefined
        : runSession({
            hijacked,
            tty: body.Tty,
            stdin: body.AttachStdin,
            stdout: body.AttachStdout,
            stderr: body.AttachStderr,
            detachKeys: keys || DEFAULT_KEYS,
          });
    session?.catch(() => {});
    try {
      await client.done("POST", `/containers/${id}/start`);
    } catch (error) {
      hijacked?.socket.destroy();
      await session;
      // With --rm the engine removes what couldn't start, and says so here.
      if (flags.bool("rm")) await wait.code;
      else wait.cancel();
      throw failure(error);
    }
    const stopResize = body.Tty ? resizer(call, `/containers/${id}/resize`) : () => {};
    try {
      if (session === undefined) printLine(id);
      else if ((await session) === "detached") {
        wait.cancel();
        return 0;
      }
    } finally {
      stopResize();
    }
    return await wait.code;
  } catch (error) {
    if (error instanceof ExitError) throw error;
    complain(errorLine(error));
    return 125;
  } finally {
    stopSignals();
    hijacked?.socket.destroy();
  }
}

/**
 * Keeps a terminal's size in the engine the same as this one's; the returned function ends it. One request at a time:
 * on connections of their own, an earlier size could arrive last.
 */
export function resizer(call: Call, path: string): () => void {
  let latest = 0;
  let sent: Promise<unknown> = Promise.resolve();
  return watchSize((h, w) => {
    const mine = ++latest;
    sent = sent.then(async () => {
      if (mine === latest) await call.client.done("POST", path, { query: { h, w } }).catch(() => {});
    });
  });
}
