import { type Command, ExitError } from "../command.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { printLine } from "../output/print.ts";
import { showProgress } from "../output/progress.ts";
import { platformJson } from "../run/platform.ts";
import { familiarReference } from "../run/reference.ts";
import { copyBody } from "../streams/copy.ts";
import { checkTarget, saveBody } from "../streams/save.ts";
import { sending } from "../streams/sending.ts";
import { isTerminal } from "../streams/terminal.ts";

export const load: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    textFlag("i,input", "Read from this tar archive instead of standard input"),
    textFlag("platform", "Load only this platform, os[/arch[/variant]]", { since: "1.48" }),
    boolFlag("q,quiet", "Suppress the load output"),
  ],
  async run(call) {
    const { flags } = call;
    const input = flags.text("input");
    if (input === "" && isTerminal(0)) throw new ExitError(1, "requested load from stdin, but stdin is empty");
    const quiet = flags.bool("quiet") || !isTerminal(1);
    const { body, headers } = await call.client.stream("POST", "/images/load", {
      query: { quiet, platform: platformJson(flags.text("platform")) },
      headers: { "Content-Type": "application/x-tar" },
      upload: sending(input === "" ? undefined : input, "Sending"),
    });
    if ((headers["content-type"] ?? "").includes("json")) await showProgress(body, 1);
    else await copyBody(body, false);
    return 0;
  },
};

export const save: Command = {
  usage: "[OPTIONS] IMAGE [IMAGE...]",
  args: { rule: "at-least", count: 1 },
  flags: [
    textFlag("o,output", "Write to this file instead of standard output"),
    textFlag("platform", "Save only this platform, os[/arch[/variant]]", { since: "1.48" }),
  ],
  async run(call) {
    const output = call.flags.text("output");
    checkTarget(output, "save image");
    const { body } = await call.client.stream("GET", "/images/get", {
      query: { names: call.args, platform: platformJson(call.flags.text("platform")) },
    });
    await saveBody(body, output);
    return 0;
  },
};

export const importImage: Command = {
  usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
  args: { rule: "at-least", count: 1 },
  flags: [
    listFlag("c,change", "Apply a Dockerfile instruction to the image"),
    textFlag("m,message", "Set the image's commit message"),
    textFlag("platform", "Platform of the image, os[/arch[/variant]]", { since: "1.32" }),
  ],
  async run(call) {
    const [source = "", reference = ""] = call.args;
    if (reference !== "") familiarReference(reference);
    const isUrl = /^https?:\/\//.test(source);
    const query = {
      fromSrc: isUrl ? source : "-",
      repo: reference,
      message: call.flags.text("message"),
      changes: call.flags.list("change"),
      platform: call.flags.text("platform").toLowerCase(),
    };
    const upload = isUrl ? {} : { upload: sending(source === "-" ? undefined : source, "Sending") };
    const { body } = await call.client.stream("POST", "/images/create", {
      query,
      headers: { "Content-Type": "text/plain" },
      ...upload,
    });
    await showProgress(body, 1);
    return 0;
  },
};

export const bootstrap: Command = {
  usage: "[OPTIONS] NAME[:TAG]",
  args: { rule: "exactly", count: 1 },
  long: "Make a base image from its distribution's own packages, without a registry:\nbusybox, or debian:SUITE such as debian:bookworm",
  flags: [boolFlag("q,quiet", "Only print the image's name")],
  async run(call) {
    const name = call.args[0] ?? "";
    const quiet = call.flags.bool("quiet");
    const { body } = await call.client.stream("POST", "/gantry/images/bootstrap", { query: { name } });
    await showProgress(body, 1, { quiet });
    if (quiet) printLine(familiarReference(name) ?? name);
    return 0;
  },
};
