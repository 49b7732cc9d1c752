import { join } from "node:path";
import { messageOf } from "../../base/errors.ts";
import { type Check, failure, note, ok, warning } from "../check.ts";
import type { Files } from "../machine.ts";

const records: Check = {
  id: "engine.records",
  title: "records",
  async run({ files, records: database }, { dataRoot }) {
    if (!files.list(dataRoot).includes("gantry.db")) return ok("there are none yet");
    const path = join(dataRoot, "gantry.db");
    const mend = `Stop the engine and put the file back from a copy: ${path}`;
    try {
      const said = await database.integrity(path);
      return said === "ok" ? ok("whole") : failure(`${path} is damaged: ${said}`, mend);
    } catch (error) {
      return failure(`${path} can't be read: ${messageOf(error)}`, mend);
    }
  },
};

const underWay: Check = {
  id: "engine.images-under-way",
  title: "images that start before they are whole",
  run(_machine, { engine, lazyRefusal }) {
    if (lazyRefusal !== undefined) {
      return note(
        `all are pulled whole first, in spite of lazy-pull: ${lazyRefusal}`,
        "Change that, or start the engine without --lazy-pull.",
      );
    }
    const images = engine?.imagesUnderWay() ?? [];
    const ill = images.find(({ problem }) => problem !== undefined);
    if (ill !== undefined) {
      return warning(
        `the rest of ${ill.name} can't be had: ${ill.problem}`,
        `Pull it again, or remove it and what runs of it: gantry pull ${ill.name}`,
      );
    }
    return ok(images.length === 0 ? "none is under way" : `${images.length} under way`);
  },
};

const supervisor: Check = {
  id: "engine.supervisor",
  title: "supervisor",
  async run({ files }, { engine, execRoot, pidfile }) {
    if (engine === undefined) {
      if (engineRuns(files, pidfile)) return ok("it runs, and so does the engine: gantry system doctor asks both");
      return hasListener(files, join(execRoot, "supervisor.sock"))
        ? note("it runs without an engine: containers go on, and nobody can reach them", "Start the engine: npm start")
        : ok("none runs, as no engine does");
    }
    try {
      await engine.askSupervisor();
      return ok("it answers");
    } catch (error) {
      return failure(
        `it does not answer: ${messageOf(error)}`,
        "Restart the engine, which starts another: containers that it held go on.",
      );
    }
  },
};

/** Whether the process that the pidfile names is an engine. */
export function engineRuns(files: Files, pidfile: string): boolean {
  const pid = /^\d+$/.exec((files.read(pidfile) ?? "").trim())?.[0];
  return pid !== undefined && /engine\/main\.[jt]s/.test(files.read(`/proc/${pid}/cmdline`) ?? "");
}

/** proc_net(5): a listening socket has the flag __SO_ACCEPTCON. */
function hasListener(files: Files, path: string): boolean {
  const rows = (files.read("/proc/net/unix") ?? "").split("\n");
  return rows.some((row) => row.endsWith(` ${path}`) && row.split(/\s+/)[3] === "00010000");
}

const leftovers: Check = {
  id: "engine.leftovers",
  title: "leftovers",
  async run({ files }, { engine, execRoot }) {
    const bundles = files.list(join(execRoot, "bundles"));
    if (engine === undefined) {
      const isHeld = hasListener(files, join(execRoot, "supervisor.sock"));
      if (bundles.length === 0 || isHeld) return ok("none");
      return note(`${bundles.length} containers' folders in ${execRoot}`, "Start the engine, which takes them away.");
    }
    const running = new Set(await engine.running());
    const stale = bundles.filter((id) => !running.has(id));
    if (stale.length === 0) return ok("none");
    return warning(
      `${stale.length} folders of containers that don't run in ${execRoot}: ${stale[0]?.slice(0, 12)} …`,
      "Look again in a moment; if they stay, restart the engine, which takes them away.",
    );
  },
};

export const engineChecks: readonly Check[] = [records, underWay, supervisor, leftovers];
