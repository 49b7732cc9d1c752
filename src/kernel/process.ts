import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { check, libc, SYSCALL, syscallError } from "./libc.ts";

const PR_SET_CHILD_SUBREAPER = 36;
const WNOHANG = 1;
const SPAWN = { setPgroup: 2, setSigdef: 4, setSigmask: 8, setSid: 0x80 } as const;
const PIDFD_GET_INFO = 0xc040ff0b;
const PIDFD_INFO_EXIT = 8n;

const c = {
  actionsInit: libc("int posix_spawn_file_actions_init(void *actions)"),
  actionsDestroy: libc("int posix_spawn_file_actions_destroy(void *actions)"),
  addDup2: libc("int posix_spawn_file_actions_adddup2(void *actions, int fd, int target)"),
  addChdir: libc("int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)"),
  attrInit: libc("int posix_spawnattr_init(void *attributes)"),
  attrDestroy: libc("int posix_spawnattr_destroy(void *attributes)"),
  setFlags: libc("int posix_spawnattr_setflags(void *attributes, short flags)"),
  setSigdefault: libc("int posix_spawnattr_setsigdefault(void *attributes, const void *set)"),
  spawn: libc(
    "int posix_spawn(_Out_ int *pid, const char *file, void *actions, void *attributes, const char **args, const char **env)",
  ),
  waitpid: libc("pid_t waitpid(pid_t pid, _Out_ int *status, int options)"),
  prctl: libc("int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)"),
  pidfdOpen: libc("long syscall(long number, long pid, long flags)"),
  pidfdSend: libc("long syscall(long number, long pidfd, long signal, const void *info, long flags)"),
  ioctl: libc("int ioctl(int fd, unsigned long request, void *argument)"),
  getrlimit: libc("int getrlimit(int resource, void *limit)"),
};

export interface SpawnRequest {
  /** Absolute path of the executable. */
  readonly file: string;
  /** The arguments, the program's own name first. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** `stdio[n]` becomes descriptor n; each must be n itself or at least as large as `stdio.length`. */
  readonly stdio: readonly number[];
  /** Leads a process group of its own; a session of its own. */
  readonly processGroup?: boolean;
  readonly session?: boolean;
}

/**
 * Starts a process with posix_spawn (no copy of this process's memory) with default signals and an empty mask. Of
 * this process's descriptors it gets `stdio` and those that are not close-on-exec; all of Node's are. Returns its
 * pid, which the caller must wait for. Throws SyscallError if it can't be executed.
 */
export function spawnProcess(request: SpawnRequest): number {
  // Larger than glibc's and musl's structures.
  const actions = Buffer.alloc(512);
  const attributes = Buffer.alloc(512);
  checked(c.actionsInit(actions));
  checked(c.attrInit(attributes));
  try {
    request.stdio.forEach((fd, target) => {
      if (fd !== target && fd < request.stdio.length) throw syscallError("posix_spawn", 9, `descriptor ${fd}`);
      checked(c.addDup2(actions, fd, target));
    });
    if (request.cwd !== undefined) checked(c.addChdir(actions, request.cwd));
    checked(c.setSigdefault(attributes, Buffer.alloc(128, 0xff)));
    const group = (request.processGroup === true ? SPAWN.setPgroup : 0) | (request.session === true ? SPAWN.setSid : 0);
    checked(c.setFlags(attributes, SPAWN.setSigdef | SPAWN.setSigmask | group));
    const pid = [0];
    const env = Object.entries(request.env).map(([name, value]) => `${name}=${value}`);
    checked(c.spawn(pid, request.file, actions, attributes, [...request.args, null], [...env, null]), request.file);
    return pid[0]!;
  } finally {
    c.actionsDestroy(actions);
    c.attrDestroy(attributes);
  }
}

function checked(errno: number, detail = ""): void {
  if (errno !== 0) throw syscallError("posix_spawn", errno, detail);
}

/** An ended child: its exit code, or 128 + the signal that killed it. */
export interface EndedChild {
  readonly pid: number;
  readonly code: number;
}

/** Reaps `pid` if it has ended; undefined while it runs, or when it is no child of this process. Never waits. */
export function tryWait(pid: number): EndedChild | undefined {
  const status = [0];
  const ended: number = c.waitpid(pid, status, WNOHANG);
  return ended > 0 ? { pid: ended, code: exitCodeOf(status[0]!) } : undefined;
}

/**
 * Reaps any one ended child; undefined if there is none. Takes them from everybody: only for a process that starts
 * none through node:child_process.
 */
export function reapAny(): EndedChild | undefined {
  return tryWait(-1);
}

/** The exit code that a wait status stands for: 0–255, 128+n for a signal. */
export function exitCodeOf(status: number): number {
  const signal = status & 0x7f;
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}

/** Orphaned descendants become children of this process from now on. */
export function setSubreaper(): void {
  check("prctl", c.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER");
}

/** A descriptor of a process, readable once it has ended; the caller closes it. ESRCH if there is none. */
export function pidfdOpen(pid: number): number {
  return check("pidfd_open", Number(c.pidfdOpen(SYSCALL.pidfdOpen, pid, 0)), `process ${pid}`);
}

/** Sends a signal through a pidfd, which can't hit a stranger. ESRCH if the process is gone. */
export function signalPidfd(pidfd: number, signal: number): void {
  check("pidfd_send_signal", Number(c.pidfdSend(SYSCALL.pidfdSendSignal, pidfd, signal, null, 0)));
}

/**
 * The exit code of a process that ended and was reaped by anybody after `pidfd` was opened: PIDFD_GET_INFO, from
 * Linux 6.15 on. undefined on older kernels, or while it has not been reaped.
 */
export function exitCodeOfPidfd(pidfd: number): number | undefined {
  const info = Buffer.alloc(64);
  info.writeBigUInt64LE(PIDFD_INFO_EXIT, 0);
  if (c.ioctl(pidfd, PIDFD_GET_INFO, info) !== 0) return undefined;
  return (info.readBigUInt64LE(0) & PIDFD_INFO_EXIT) === 0n ? undefined : exitCodeOf(info.readInt32LE(60));
}

/** What /proc/PID/stat says of a process; undefined if it is gone. */
export interface ProcessStat {
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  /** Clock ticks after boot; with the pid it names a process for good. */
  readonly startTime: number;
  /** The wait status of a zombie. */
  readonly exitStatus: number;
}

/** What /proc says of a process; undefined if there is none of this pid. */
export function statProcess(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // The name in parentheses may hold anything, also parentheses.
  const fields = text
    .slice(text.lastIndexOf(")") + 2)
    .trimEnd()
    .split(" ");
  return {
    state: fields[0] ?? "",
    parent: Number(fields[1]),
    session: Number(fields[3]),
    startTime: Number(fields[19]),
    exitStatus: Number(fields[49]),
  };
}

const RLIMITS: Readonly<Record<string, number>> = {
  RLIMIT_CPU: 0,
  RLIMIT_FSIZE: 1,
  RLIMIT_DATA: 2,
  RLIMIT_STACK: 3,
  RLIMIT_CORE: 4,
  RLIMIT_RSS: 5,
  RLIMIT_NPROC: 6,
  RLIMIT_NOFILE: 7,
  RLIMIT_MEMLOCK: 8,
  RLIMIT_AS: 9,
  RLIMIT_LOCKS: 10,
  RLIMIT_SIGPENDING: 11,
  RLIMIT_MSGQUEUE: 12,
  RLIMIT_NICE: 13,
  RLIMIT_RTPRIO: 14,
  RLIMIT_RTTIME: 15,
};
const CAP_SYS_RESOURCE = 1n << 24n;

/**
 * A limit that this process may give to a child: `hard` no higher than its own unless it has CAP_SYS_RESOURCE, `soft`
 * no higher than `hard`. Infinity is no limit. `clamped` tells that something was lowered, so that it can be said.
 */
export function clampRlimit(
  name: string,
  soft: number,
  hard: number,
): { readonly soft: number; readonly hard: number; readonly clamped: boolean } {
  const resource = RLIMITS[name];
  if (resource === undefined) throw syscallError("getrlimit", constants.errno.EINVAL, name);
  let highest = Infinity;
  if (!mayRaiseLimits()) {
    const limit = new BigUint64Array(2);
    check("getrlimit", c.getrlimit(resource, limit), name);
    highest = limit[1] === 0xffff_ffff_ffff_ffffn ? Infinity : Number(limit[1]);
  }
  const clampedHard = Math.min(hard, highest);
  const clampedSoft = Math.min(soft, clampedHard);
  return { soft: clampedSoft, hard: clampedHard, clamped: clampedHard !== hard || clampedSoft !== soft };
}

function mayRaiseLimits(): boolean {
  const row = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1"));
  return row !== null && (BigInt(`0x${row[1]}`) & CAP_SYS_RESOURCE) !== 0n;
}
