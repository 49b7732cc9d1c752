/** The supervisor as a program: `node main.ts EXEC_ROOT`, with descriptor 3 to say that it serves. */
import { setSubreaper } from "../../kernel/process.ts";
import { runHelper } from "../helper-main.ts";
import { SUPERVISOR_NAME } from "../protocol.ts";
import { favourCgroupMoves } from "./fast-cgroup-moves.ts";
import { hideUnifiedHierarchy } from "./hybrid-cgroups.ts";
import { Supervisor } from "./supervisor.ts";

await runHelper(SUPERVISOR_NAME, async (execRoot, quit) => {
  hideUnifiedHierarchy();
  favourCgroupMoves();
  setSubreaper();
  const supervisor = new Supervisor(execRoot, quit);
  // One that a signal could end at any time would take every container's streams along.
  process.on("SIGTERM", () => supervisor.isIdle && quit());
  await supervisor.recover();
  return supervisor;
});
