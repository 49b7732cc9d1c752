import type { ContainerInspect } from "../../api/container.ts";
import { JOINED_FRAMES } from "../../api/version.ts";
import type { Command } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { timestampQuery } from "../output/timestamp.ts";
import { copyBody } from "../streams/copy.ts";
import { segment } from "./lifecycle.ts";

export const logs: Command = {
  usage: "[OPTIONS] CONTAINER",
  args: { rule: "exactly", count: 1 },
  flags: [
    boolFlag("details", "Show the extra attributes that the logs were given"),
    boolFlag("f,follow", "Follow the log output"),
    textFlag("since", 'Show logs since a time ("2013-01-02T13:23:37Z") or for a while ("42m")'),
    textFlag("n,tail", "Number of lines to show from the end of the logs", { initial: "all" }),
    boolFlag("t,timestamps", "Show timestamps"),
    textFlag("until", 'Show logs before a time ("2013-01-02T13:23:37Z") or until a while ago ("42m")'),
  ],
  async run(call) {
    const { client, flags } = call;
    const container = await client.json<ContainerInspect>("GET", `/containers/${segment(call.args[0] ?? "")}/json`);
    const { body } = await client.stream("GET", `/containers/${container.Id}/logs`, {
      headers: { Accept: JOINED_FRAMES },
      query: {
        stdout: true,
        stderr: true,
        follow: flags.bool("follow"),
        timestamps: flags.bool("timestamps"),
        details: flags.bool("details"),
        since: timestampQuery("since", flags.text("since")),
        until: timestampQuery("until", flags.text("until")),
        tail: flags.text("tail"),
      },
    });
    await copyBody(body, !container.Config.Tty);
    return 0;
  },
};
