import type { HostConfig } from "../../api/container.ts";
import { GantryError } from "../../base/errors.ts";

const OF_IPC = new Set(
  "msgmax msgmnb msgmni sem shmall shmmax shmmni shm_rmid_forced".split(" ").map((name) => `kernel.${name}`),
);

/** Only what a namespace of the container's own holds may be set: anything else would change the host. */
export function checkSysctl(given: string, hostConfig: Pick<HostConfig, "NetworkMode" | "IpcMode" | "UTSMode">): void {
  const refuse = (why: string) => {
    throw new GantryError("invalid", `sysctl ${JSON.stringify(given)} ${why}`);
  };
  // Both `net.ipv4.x` and `net/ipv4/x` are names; an interface's may hold either character.
  const name = given.includes("/") && !/^[^/]*\./.test(given) ? given.replaceAll("/", ".") : given;
  if (!/^[A-Za-z0-9_-]+([./][A-Za-z0-9_@:-]+)+$/.test(name)) refuse("is not a valid name");
  if (name.startsWith("net.")) {
    if (hostConfig.NetworkMode === "host") refuse("not allowed in host network namespace");
  } else if (OF_IPC.has(name) || name.startsWith("fs.mqueue.")) {
    if (hostConfig.IpcMode === "host") refuse("is not allowed in the hosts ipc namespace");
  } else if (name === "kernel.domainname") {
    if (hostConfig.UTSMode === "host") refuse("is not allowed in the hosts uts namespace");
  } else if (name === "kernel.hostname") {
    refuse('is not allowed as it conflicts with the OCI "hostname" field');
  } else refuse("is not in a separate kernel namespace");
}
