import type { ContainerInspect, TopResponse } from "../../api/container.ts";
import { messageOf } from "../../base/errors.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { boolFlag, intFlag, textFlag } from "../flags/spec.ts";
import { complain, print, printLine } from "../output/print.ts";
import { aligned } from "../output/table.ts";

/** A name as one segment of a path. */
export function segment(name: string, kind: Kind = "container"): string {
  if (kind === "image") return encodeURIComponent(name);
  checkPresent(name, kind);
  return encodeURIComponent(name.trim());
}

type Kind = "container" | "image" | "network" | "snapshot" | "volume";

/** Refuses what could be no name, before the engine is asked. */
export function checkPresent(name: string, kind: Kind = "container"): void {
  if (name.trim() === "") throw new Error(`invalid ${kind} name or ID: value is empty`);
}

/** Requests under way at once when a command names many containers. */
const WIDTH = 50;

/**
 * Does one thing to each name, up to `width` at a time, and reports in the order given: the names that went well on standard
 * output (`act` may say another text, or null for none), complaints on standard error. Exit code 1 if any failed.
 */
export async function forEachName(
  call: Call,
  act: (name: string) => Promise<string | null | undefined>,
  width = WIDTH,
): Promise<number> {
  let failed = false;
  for (let at = 0; at < call.args.length; at += width) {
    const results = await Promise.allSettled(call.args.slice(at, at + width).map(act));
    results.forEach((result, index) => {
      if (result.status === "fulfilled") {
        if (result.value !== null) printLine(result.value ?? call.args[at + index] ?? "");
      } else {
        if (!(result.reason instanceof ExitError && result.reason.code === 0)) failed = true;
        complain(errorLine(result.reason));
      }
    });
  }
  return failed ? 1 : 0;
}

const NAMES = { usage: "CONTAINER [CONTAINER...]", args: { rule: "at-least", count: 1 } } as const;
const OPTIONS_NAMES = { ...NAMES, usage: `[OPTIONS] ${NAMES.usage}` } as const;

const STOP_FLAGS = [
  textFlag("s,signal", "Signal to send to the container"),
  intFlag("t,timeout", "Seconds to wait before the container is killed"),
  intFlag("time", "Seconds to wait before the container is killed", {
    hidden: true,
    into: "timeout",
    deprecated: "use --timeout instead",
  }),
];

function stopping(verb: "stop" | "restart"): Command {
  return {
    ...OPTIONS_NAMES,
    flags: STOP_FLAGS,
    run: async (call) => {
      // Of the two spellings the values of one are counted as the other's.
      if (call.flags.changed("time") && call.flags.list("timeout").length > 1) {
        throw new ExitError(1, "conflicting options: cannot specify both --timeout and --time");
      }
      return await forEachName(call, async (name) => {
        const t = call.flags.changed("timeout") ? call.flags.int("timeout") : undefined;
        await call.client.done("POST", `/containers/${segment(name)}/${verb}`, {
          query: { signal: call.flags.text("signal"), t },
        });
        return undefined;
      });
    },
  };
}

export const stop = stopping("stop");
export const restart = stopping("restart");

function plain(verb: "pause" | "unpause"): Command {
  return {
    ...NAMES,
    flags: [],
    run: (call) =>
      forEachName(call, async (name) => {
        await call.client.done("POST", `/containers/${segment(name)}/${verb}`);
        return undefined;
      }),
  };
}

export const pause = plain("pause");
export const unpause = plain("unpause");

export const kill: Command = {
  ...OPTIONS_NAMES,
  flags: [textFlag("s,signal", "Signal to send to the container")],
  run: (call) =>
    forEachName(call, async (name) => {
      await call.client.done("POST", `/containers/${segment(name)}/kill`, {
        query: { signal: call.flags.text("signal") },
      });
      return undefined;
    }),
};

export const rm: Command = {
  ...OPTIONS_NAMES,
  flags: [
    boolFlag("f,force", "Remove a running container too, killing it"),
    boolFlag("l,link", "Remove the link of this name"),
    boolFlag("v,volumes", "Remove the container's anonymous volumes"),
  ],
  async run(call) {
    const { flags } = call;
    return await forEachName(call, async (given) => {
      const name = given.replace(/^\/+|\/+$/g, "");
      if (name === "") throw new Error("container name cannot be empty");
      try {
        await call.client.done("DELETE", `/containers/${segment(name)}`, {
          query: { v: flags.bool("volumes"), link: flags.bool("link"), force: flags.bool("force") },
        });
      } catch (error) {
        if (!flags.bool("force") || !/No such container/.test(messageOf(error))) throw error;
        // With --force a container that is gone already was what the user wanted, though Docker complains all the same.
        throw new ExitError(0, errorLine(error));
      }
      return given;
    });
  },
};

export const wait: Command = {
  ...NAMES,
  flags: [],
  run: (call) =>
    forEachName(call, async (name) => {
      const answer = await call.client.json<{ StatusCode: number; Error?: { Message?: string } | null }>(
        "POST",
        `/containers/${segment(name)}/wait`,
      );
      if (answer.Error?.Message) throw new Error(answer.Error.Message);
      return String(answer.StatusCode);
    }),
};

export const rename: Command = {
  usage: "CONTAINER NEW_NAME",
  args: { rule: "exactly", count: 2 },
  flags: [],
  async run(call) {
    const [from = "", to = ""] = call.args.map((name) => name.trim());
    if (from === "" || to === "") throw new ExitError(1, "Error: Neither old nor new names may be empty");
    try {
      await call.client.done("POST", `/containers/${segment(from)}/rename`, { query: { name: to } });
    } catch (error) {
      complain(errorLine(error));
      throw new ExitError(1, `Error: failed to rename container named ${from}`);
    }
    return 0;
  },
};

export const top: Command = {
  usage: "CONTAINER [ps OPTIONS]",
  args: { rule: "at-least", count: 1 },
  interspersed: false,
  flags: [],
  async run(call) {
    const [name = "", ...options] = call.args;
    const answer = await call.client.json<TopResponse>("GET", `/containers/${segment(name)}/top`, {
      query: { ps_args: options.join(" ") },
    });
    print(aligned([answer.Titles, ...(answer.Processes ?? [])], { minWidth: 20, padding: 3 }));
    return 0;
  },
};

export const port: Command = {
  usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
  args: { rule: "between", count: 1, most: 2 },
  flags: [],
  async run(call) {
    const [name = "", wanted] = call.args;
    const container = await call.client.json<ContainerInspect>("GET", `/containers/${segment(name)}/json`);
    const ports = container.NetworkSettings.Ports ?? {};
    const address = (row: { HostIp: string; HostPort: string }): string =>
      `${row.HostIp.includes(":") ? `[${row.HostIp}]` : row.HostIp}:${row.HostPort}`;
    if (wanted === undefined || wanted === "") {
      const lines = Object.entries(ports).flatMap(([key, rows]) =>
        (rows ?? []).map((row) => ({ key, text: `${key} -> ${address(row)}` })),
      );
      lines.sort((a, b) => Number.parseInt(a.key, 10) - Number.parseInt(b.key, 10));
      for (const line of lines) printLine(line.text);
      return 0;
    }
    const [number = "", protocol = ""] = wanted.split(/\/(.*)/s, 2);
    if (!/^\d+$/.test(number) || Number(number) > 65_535) {
      const why = /^\d+$/.test(number) ? "value out of range" : "invalid syntax";
      throw new ExitError(
        1,
        `Error: invalid port (${number}): strconv.ParseUint: parsing ${JSON.stringify(number)}: ${why}`,
      );
    }
    const key = `${Number(number)}/${protocol === "" ? "tcp" : protocol}`;
    const rows = ports[key];
    if (rows === undefined || rows === null) {
      throw new ExitError(1, `Error: No public port '${wanted}' published for ${name}`);
    }
    for (const row of rows) printLine(address(row));
    return 0;
  },
};
