import type { ImageDeleteRow } from "../../api/image.ts";
import { messageOf } from "../../base/errors.ts";
import { EngineError } from "../../client/client.ts";
import type { Command } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { boolFlag, listFlag } from "../flags/spec.ts";
import { complain, printLine } from "../output/print.ts";
import { platformJson } from "../run/platform.ts";
import { familiarReference, splitTag } from "../run/reference.ts";
import { segment } from "./lifecycle.ts";

export const rmi: Command = {
  usage: "[OPTIONS] IMAGE [IMAGE...]",
  args: { rule: "at-least", count: 1 },
  flags: [
    boolFlag("f,force", "Remove the image even if it is in use"),
    boolFlag("no-prune", "Do not delete untagged parents"),
    listFlag("platform", "Remove only this platform of the image, os[/arch[/variant]]", { since: "1.50" }),
  ],
  async run(call) {
    const force = call.flags.bool("force");
    const platforms = call.flags.list("platform").map(platformJson);
    let failed = false;
    for (const name of call.args) {
      try {
        const rows = await call.client.json<ImageDeleteRow[]>("DELETE", `/images/${segment(name, "image")}`, {
          query: { force, noprune: call.flags.bool("no-prune"), platforms },
        });
        for (const row of rows) printLine("Deleted" in row ? `Deleted: ${row.Deleted}` : `Untagged: ${row.Untagged}`);
      } catch (error) {
        complain(errorLine(error));
        if (!force || !(error instanceof EngineError && error.status === 404)) failed = true;
      }
    }
    return failed ? 1 : 0;
  },
};

export const tag: Command = {
  usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
  args: { rule: "exactly", count: 2 },
  flags: [],
  async run(call) {
    const [source = "", target = ""] = call.args;
    const complaint = (text: string, why: string) =>
      new Error(`Error parsing reference: ${JSON.stringify(text)} is not a valid repository/tag: ${why}`);
    if (source === "") throw complaint(source, "invalid reference format");
    let reference: string | undefined;
    try {
      reference = familiarReference(target);
    } catch (error) {
      throw complaint(target, messageOf(error));
    }
    if (reference === undefined || reference.includes("@"))
      throw new Error("refusing to create a tag with a digest reference");
    const { name, tag: tagName } = splitTag(reference);
    await call.client.done("POST", `/images/${segment(source, "image")}/tag`, { query: { repo: name, tag: tagName } });
    return 0;
  },
};
