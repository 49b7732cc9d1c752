// Records what buildx says to the definitions of test/bakefiles: `node scripts/record-bake.ts PROGRAM`, a docker client.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { answerOf, type BakeAnswer, bakeCases, layOut, recordAnswers } from "../test/bakefiles.ts";
import { finish } from "../test/command.ts";

const [program] = process.argv.slice(2);
if (program === undefined) throw new Error("say which docker client to ask");
const answers = new Map<string, BakeAnswer>();
for (const one of bakeCases()) {
  const folder = mkdtempSync(join(tmpdir(), "gantry-bake-"));
  // Clients look whether an agent is there.
  const agent = createServer().listen(join(folder, "agent.sock"));
  try {
    layOut(one, folder);
    const isListed = one.args.some((arg) => arg.startsWith("--list"));
    const args = ["buildx", "bake", ...(isListed ? [] : ["--print"]), ...one.args];
    const { PATH = "" } = process.env;
    answers.set(
      one.title,
      answerOf(await finish(program, args, { cwd: folder, env: { PATH, HOME: folder, ...one.env } })),
    );
  } finally {
    agent.close();
    rmSync(folder, { recursive: true });
  }
}
recordAnswers(answers);
