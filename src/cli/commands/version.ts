import { clientVersion } from "../client-version.ts";
import { type Command, ExitError } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { textFlag } from "../flags/spec.ts";
import { complain, print } from "../output/print.ts";

interface ServerVersion {
  readonly Version: string;
  readonly ApiVersion: string;
  readonly MinAPIVersion?: string;
  readonly GitCommit?: string;
  readonly GoVersion?: string;
  readonly Os: string;
  readonly Arch: string;
  readonly BuildTime?: string;
  readonly KernelVersion?: string;
  readonly Experimental?: boolean;
  readonly Platform?: { readonly Name: string };
  readonly Components?: readonly {
    readonly Name: string;
    readonly Version: string;
    readonly Details?: Readonly<Record<string, string>>;
  }[];
}

export const version: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [textFlag("f,format", "Format output with a Go template or 'json'")],
  async run(call) {
    let server: ServerVersion | undefined;
    let failure: unknown;
    try {
      server = await call.client.json<ServerVersion>("GET", "/version");
    } catch (error) {
      failure = error;
    }
    const client = clientVersion(call);
    const format = call.flags.text("format");
    const data = { Client: client, Server: server ?? null };
    if (format === "json") print(`${JSON.stringify(data)}\n`);
    else if (format !== "") {
      const { printValue } = await import("../output/value.ts");
      try {
        const parts = new Map<unknown, string>([
          [client, "system.clientVersion"],
          [server, "*types.Version"],
        ]);
        printValue(data, format, { name: "version", type: "system.versionInfo", parts });
      } catch (error) {
        // Without an engine there is nothing to ask of it; that is what is complained of.
        if (failure === undefined || error instanceof ExitError) throw error;
      }
    } else {
      const rows = [
        [" Version:", client.Version ?? ""],
        [" API version:", downgraded(client)],
        [" OS/Arch:", `${client.Os}/${client.Arch}`],
        [" Context:", client.Context],
      ];
      print(`Client:\n${rows.map(([name = "", value]) => `${name.padEnd(19)} ${value}\n`).join("")}`);
      if (server !== undefined) print(`\n${serverText(server)}`);
    }
    if (failure === undefined) return 0;
    complain(errorLine(failure));
    return 1;
  },
};

function downgraded(client: Readonly<Record<string, string>>): string {
  const { ApiVersion = "", DefaultAPIVersion = "" } = client;
  return ApiVersion === DefaultAPIVersion ? ApiVersion : `${ApiVersion} (downgraded from ${DefaultAPIVersion})`;
}

function serverText(server: ServerVersion): string {
  const line = (name: string, value: string | undefined): string =>
    value ? `  ${`${name}:`.padEnd(17)} ${value}\n` : "";
  const main = server.Components?.find((component) => component.Name === "Engine");
  const rest = (server.Components ?? []).filter((component) => component !== main);
  return [
    `Server:${server.Platform?.Name ? ` ${server.Platform.Name}` : ""}\n Engine:\n`,
    line("Version", server.Version),
    line(
      "API version",
      `${server.ApiVersion}${server.MinAPIVersion ? ` (minimum version ${server.MinAPIVersion})` : ""}`,
    ),
    line("Go version", server.GoVersion),
    line("Git commit", server.GitCommit),
    line("Built", server.BuildTime),
    line("OS/Arch", `${server.Os}/${server.Arch}`),
    line("Experimental", String(server.Experimental ?? false)),
    ...rest.map(
      (part) => ` ${part.Name}:\n${line("Version", part.Version)}${line("GitCommit", part.Details?.GitCommit)}`,
    ),
  ].join("");
}
