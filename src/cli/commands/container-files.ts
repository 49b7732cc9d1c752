import type { FilesystemChange } from "../../api/archive.ts";
import type { IdResponse } from "../../api/container.ts";
import type { Command } from "../command.ts";
import { boolFlag, listFlag, textFlag } from "../flags/spec.ts";
import { print, printLine } from "../output/print.ts";
import { familiarReference, splitTag } from "../run/reference.ts";
import { checkTarget, saveBody } from "../streams/save.ts";
import { checkPresent, segment } from "./lifecycle.ts";

const LETTERS = { 0: "C", 1: "A", 2: "D" } as const;

export const diff: Command = {
  usage: "CONTAINER",
  args: { rule: "exactly", count: 1 },
  flags: [],
  async run(call) {
    const name = call.args[0] ?? "";
    if (name === "") throw new Error("Container name cannot be empty");
    const changes = await call.client.json<FilesystemChange[] | null>("GET", `/containers/${segment(name)}/changes`);
    print((changes ?? []).map(({ Kind, Path }) => `${LETTERS[Kind]} ${Path}\n`).join(""));
    return 0;
  },
};

export const exportContainer: Command = {
  usage: "[OPTIONS] CONTAINER",
  args: { rule: "exactly", count: 1 },
  flags: [textFlag("o,output", "Write to a file, instead of STDOUT")],
  async run(call) {
    const output = call.flags.text("output");
    checkTarget(output, "export container");
    const { body } = await call.client.stream("GET", `/containers/${segment(call.args[0] ?? "")}/export`);
    await saveBody(body, output);
    return 0;
  },
};

export const commit: Command = {
  usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
  args: { rule: "between", count: 1, most: 2 },
  flags: [
    textFlag("a,author", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
    listFlag("c,change", "Apply Dockerfile instruction to the created image"),
    textFlag("m,message", "Commit message"),
    boolFlag("p,pause", "Pause container during commit", { initial: "true", shownDefault: "true" }),
  ],
  async run(call) {
    const { flags } = call;
    const [container = "", given = ""] = call.args;
    checkPresent(container);
    let named = { name: "", tag: "" };
    if (given !== "") {
      const reference = familiarReference(given);
      if (reference === undefined)
        throw new Error(`invalid repository name (${given}), cannot specify 64-byte hexadecimal strings`);
      if (reference.includes("@")) throw new Error("refusing to create a tag with a digest reference");
      named = splitTag(reference);
    }
    const { Id } = await call.client.json<IdResponse>("POST", "/commit", {
      query: {
        container,
        repo: named.name,
        tag: named.tag,
        comment: flags.text("message"),
        author: flags.text("author"),
        changes: flags.list("change"),
        pause: flags.bool("pause") ? undefined : "0",
      },
    });
    printLine(Id);
    return 0;
  },
};
