import { existsSync } from "node:fs";
import type { TlsSettings } from "../client/client.ts";

const GANTRY_SOCKET = "/run/gantry/gantry.sock";
const DOCKER_SOCKET = "/var/run/docker.sock";

/** The engine of this machine: Gantry's, or Docker's if only that is there. */
export function defaultHost(): string {
  return !existsSync(GANTRY_SOCKET) && existsSync(DOCKER_SOCKET)
    ? `unix://${DOCKER_SOCKET}`
    : `unix://${GANTRY_SOCKET}`;
}

/** TLS settings of what certificates there are. */
export function pemSettings(verify: boolean, ca?: string, cert?: string, key?: string): TlsSettings {
  return {
    verify,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}
