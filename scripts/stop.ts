// Stops the containers and the engine that `npm start` started, and checks that the kernel holds nothing of them any
// more. Images and stopped containers stay.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import {
  answers,
  ask,
  EXEC_ROOT,
  enginePid,
  fail,
  isEngine,
  kernelNames,
  remains,
  until,
} from "./lifecycle/host-engine.ts";
import { launchEngine } from "./lifecycle/launch.ts";

const END_MS = 30_000;
const SETTLE_MS = 5_000;

if (process.getuid?.() !== 0) fail("stopping the engine needs root: run this as root.");

if (!(await answers())) {
  if (remains(await kernelNames()).length === 0) {
    console.log("stop: nothing to stop, the engine does not run");
    process.exit(0);
  }
  // An engine that was killed left its supervisor and mounts: only an engine knows how to settle them.
  console.log("stop: the engine is gone but left something; starting it to take that down");
  await launchEngine();
}

const names = await kernelNames();
const running = JSON.parse((await ask("GET", "/containers/json")).text) as { Id: string; Names: string[] }[];
await Promise.all(
  running.map(async ({ Id, Names }) => {
    const { status, text } = await ask("POST", `/containers/${Id}/stop`);
    const name = (Names[0] ?? Id.slice(0, 12)).replace(/^\//, "");
    console.log(
      status === 204 || status === 304 ? `stop: stopped ${name}` : `stop: cannot stop ${name}: ${wordsOf(text)}`,
    );
  }),
);

const pid = enginePid() ?? fail(`the engine answers, but ${EXEC_ROOT}/gantryd.pid does not name it: end it by hand.`);
if (readFileSync(`/proc/${pid}/cgroup`, "utf8").includes("/gantry.service")) {
  // Ended behind systemd's back it would be started again.
  spawnSync("systemctl", ["stop", "gantry.service"], { stdio: "inherit" });
} else {
  process.kill(pid, "SIGTERM");
}
if (!(await until(() => !isEngine(pid), END_MS)))
  fail(`the engine (process ${pid}) did not end within ${END_MS / 1000} s.`);
await until(() => remains(names).length === 0, SETTLE_MS);
const left = remains(names);
if (left.length > 0) fail(`the engine ended, but left behind:\n  ${left.join("\n  ")}`);
console.log("stop: the engine has ended; nothing of it is mounted or running, images and containers are kept");

/** What an error's answer says. */
function wordsOf(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    return text.trim();
  }
}
