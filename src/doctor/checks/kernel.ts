import { type Check, failure, note, ok, warning } from "../check.ts";
import type { KernelCall, Machine } from "../machine.ts";

const NAMESPACES = ["mnt", "net", "pid", "uts", "ipc", "cgroup"];

const overlay: Check = {
  id: "kernel.overlay",
  title: "overlay file system",
  run: ({ files }) =>
    /\toverlay\n/.test(files.read("/proc/filesystems") ?? "")
      ? ok("the kernel knows it")
      : failure("the kernel does not know it: images can't be shared between containers", "Load it: modprobe overlay"),
};

const seccomp: Check = {
  id: "kernel.seccomp",
  title: "seccomp",
  run({ files }, { seccompProfile }) {
    const actions = files.read("/proc/sys/kernel/seccomp/actions_avail")?.split(/\s+/) ?? [];
    if (!actions.includes("errno")) {
      return failure(
        "the kernel filters no system calls: containers would run unconfined",
        "Use a kernel with CONFIG_SECCOMP_FILTER=y.",
      );
    }
    if (seccompProfile === "unconfined") {
      return warning("the engine is told to filter nothing", "Start it without --seccomp-profile unconfined.");
    }
    return ok("system calls of containers are filtered");
  },
};

const namespaces: Check = {
  id: "kernel.namespaces",
  title: "namespaces",
  run({ files }) {
    const there = files.list("/proc/self/ns");
    const missing = NAMESPACES.filter((name) => !there.includes(name));
    if (missing.length === 0) return ok(NAMESPACES.join(", "));
    return failure(`the kernel lacks ${missing.join(", ")}`, "Use a kernel with CONFIG_NAMESPACES=y and all below it.");
  },
};

const userNamespaces: Check = {
  id: "kernel.user-namespaces",
  title: "user namespaces",
  run({ files }) {
    const most = Number(files.read("/proc/sys/user/max_user_namespaces") ?? "0");
    if (!files.list("/proc/self/ns").includes("user") || most === 0) {
      return note(
        "there are none: only programs in containers that sandbox themselves miss them",
        "Allow them: sysctl -w user.max_user_namespaces=15000",
      );
    }
    return ok(`up to ${most}`);
  },
};

function call(id: string, title: string, name: KernelCall, since: string): Check {
  return {
    id,
    title,
    run({ kernel }: Pick<Machine, "kernel">) {
      const why = kernel.refusal(name);
      if (why === undefined) return ok("it works");
      return failure(
        `it does not work: ${why}`,
        `Use Linux ${since} or later, and let no filter around the engine forbid it.`,
      );
    },
  };
}

export const kernelChecks: readonly Check[] = [
  overlay,
  seccomp,
  namespaces,
  userNamespaces,
  call("kernel.pidfd", "process descriptors", "pidfd", "5.4"),
  call("kernel.openat2", "paths resolved inside a root", "openat2", "5.6"),
  call("kernel.mount-api", "mount calls", "mount-api", "5.2"),
];
