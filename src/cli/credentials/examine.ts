import { statSync } from "node:fs";
import { join } from "node:path";
import type { DoctorFinding, DoctorStatus } from "../../api/doctor.ts";
import { messageOf } from "../../base/errors.ts";
import { printable } from "../error-line.ts";
import type { Settings } from "../settings.ts";
import { HUB_KEY } from "./address.ts";
import { Credentials, isOnPath } from "./credentials.ts";
import { authVariable, environmentAuths } from "./environment.ts";

export const CREDENTIALS_CHECK = "registries.credentials";

/** Whether what this user has to prove themselves to registries can be had, and by nobody else; no secret is asked for. */
export async function examineCredentials(settings: Pick<Settings, "config" | "configFolder">): Promise<DoctorFinding> {
  const finding = (status: DoctorStatus, found: string, mend = ""): DoctorFinding => ({
    ID: CREDENTIALS_CHECK,
    Title: "credentials for registries",
    Status: status,
    Found: printable(found),
    Mend: printable(mend),
  });
  const path = join(settings.configFolder, "config.json");
  const { credHelpers = {}, credsStore = "" } = settings.config();
  for (const name of new Set([credsStore, ...Object.values(credHelpers)])) {
    const program = `docker-credential-${name}`;
    if (name === "" || isOnPath(program)) continue;
    const mend = `Install ${program}, or take it out of ${path}`;
    return finding("warning", `${program} is not installed: what it keeps can't be had`, mend);
  }
  const variable = authVariable();
  if (variable !== undefined && environmentAuths().size === 0) {
    const mend = `Give it as {"auths": {"REGISTRY": {"auth": "base64 of NAME:PASSWORD"}}}`;
    return finding("warning", `${variable} is set, and gives no credentials`, mend);
  }
  const faults: unknown[] = [];
  const kept = await new Credentials(settings).list((fault) => faults.push(fault));
  if (faults.length > 0) {
    return finding("warning", messageOf(faults[0]), `See to it, or log in again: gantry login`);
  }
  const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0;
  if ((mode & 0o077) !== 0 && kept.some(({ place }) => place === path)) {
    return finding("warning", `${path} has passwords, and others may read it`, `chmod 600 ${path}`);
  }
  const names = kept.map(({ key }) => (key === HUB_KEY ? "docker.io" : key)).sort();
  return finding("ok", names.length === 0 ? "none are kept" : names.join(", "));
}
