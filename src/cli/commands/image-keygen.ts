import { chmodSync, existsSync } from "node:fs";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { messageOf } from "../../base/errors.ts";
import { makeKeyPair } from "../../trust/private-key.ts";
import { type Command, ExitError } from "../command.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { printLine } from "../output/print.ts";
import { newKeyPassword } from "../signing/keys.ts";

export const keygen: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  offline: true,
  long: "Make a pair of keys to sign images with: PREFIX.key, sealed by a password, and PREFIX.pub.\nThe files are cosign's: it, skopeo and podman read them, too.",
  flags: [
    boolFlag("f,force", "Write over files that are there"),
    textFlag("output-key-prefix", "What the files' names begin with", { initial: "gantry" }),
  ],
  async run(call) {
    const prefix = call.flags.text("output-key-prefix");
    const [privatePath, publicPath] = [`${prefix}.key`, `${prefix}.pub`];
    if (!call.flags.bool("force")) {
      const there = [privatePath, publicPath].find((path) => existsSync(path));
      if (there !== undefined) {
        throw new ExitError(1, `${there} is there already: give another --output-key-prefix, or --force to replace it`);
      }
    }
    const pair = await makeKeyPair(await newKeyPassword());
    write(privatePath, pair.privateKey, 0o600);
    write(publicPath, pair.publicKey, 0o644);
    printLine(`Private key: ${privatePath}`);
    printLine(`Public key: ${publicPath}`);
    return 0;
  },
};

function write(path: string, text: string, mode: number): void {
  try {
    writeFileAtomic(path, text, { mode });
    chmodSync(path, mode);
  } catch (error) {
    throw new ExitError(1, `cannot write ${path}: ${messageOf(error)}`);
  }
}
