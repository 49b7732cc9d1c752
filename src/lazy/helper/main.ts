/**
 * The helper that serves layers which aren't whole, as a program: `node main.ts EXEC_ROOT` is the keeper, with descriptor
 * 3 to say that it serves. With `serve` it is the keeper's server (3: the file system, 4: the keeper); with `adopt` a
 * keeper that a server started (4: the file system, 5: the server).
 */
import { fileURLToPath } from "node:url";
import { messageOf } from "../../base/errors.ts";
import { closeOnExec } from "../../kernel/descriptor.ts";
import { runHelper } from "../../runtime/helper-main.ts";
import { LAZY_NAME } from "../protocol.ts";
import { Keeper } from "./keeper.ts";
import { Server } from "./server.ts";

const script = fileURLToPath(import.meta.url);
const [execRoot = "", role] = process.argv.slice(2);

if (role === "serve") {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  process.on("uncaughtException", (error) => process.stderr.write(`${error.stack ?? messageOf(error)}\n`));
  process.umask(0o022);
  for (const fd of [3, 4]) closeOnExec(fd);
  new Server({ execRoot, script, fuse: 3, control: 4 });
} else {
  await runHelper(LAZY_NAME, (_root, quit) => {
    const keeper = new Keeper(execRoot, script, quit);
    if (role === "adopt") {
      for (const fd of [4, 5]) closeOnExec(fd);
      keeper.adopt(4, 5);
    }
    return keeper;
  });
}
