import { GantryError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import { sendUnixDatagram } from "../kernel/datagram.ts";
import { closeOnExec } from "../kernel/descriptor.ts";

const FIRST_PASSED_FD = 3;

/** What systemd, or whoever speaks as it does, handed to this process; see sd_listen_fds(3) and sd_notify(3). */
export interface Systemd {
  /** Descriptors of listening sockets. */
  readonly sockets: readonly number[];
  /** Tells a state, such as `READY=1`; does nothing where nobody asked for it. */
  notify(state: string): void;
}

/**
 * Takes what was handed over. It is meant for this process alone: the variables go from the environment (crun would
 * mount the notify socket into containers) and the sockets are closed in every program that is started. Throws invalid
 * if a socket that is announced isn't there.
 */
export function takeSystemd(env: NodeJS.ProcessEnv, log: Logger): Systemd {
  const { LISTEN_PID, LISTEN_FDS, NOTIFY_SOCKET = "" } = env;
  for (const name of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET"]) delete env[name];
  const count = LISTEN_PID === String(process.pid) ? Number(LISTEN_FDS ?? 0) : 0;
  const sockets = Array.from({ length: count }, (_, i) => FIRST_PASSED_FD + i);
  try {
    for (const fd of sockets) closeOnExec(fd);
  } catch (error) {
    throw new GantryError("invalid", `cannot take the sockets that LISTEN_FDS announces: ${messageOf(error)}`);
  }
  return {
    sockets,
    notify: (state) => {
      if (NOTIFY_SOCKET === "") return;
      try {
        sendUnixDatagram(NOTIFY_SOCKET, state);
      } catch (error) {
        log.warn(`cannot tell systemd ${state}: ${messageOf(error)}`);
      }
    },
  };
}
