import { GantryError, hasCode } from "../../base/errors.ts";
import { userRows } from "../../base/user-rows.ts";
import { type Root, readFileInRoot } from "../../kernel/path.ts";

/** Who a process runs as. */
export interface ProcessUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
  /** `/` where the image's passwd doesn't say. */
  readonly home: string;
}

/** Far above any real file, and small enough to be read whole. */
const MAX_FILE = 4 << 20;
const MAX_ID = 2 ** 31 - 1;
/** The kernel's own bound (NGROUPS_MAX). */
const MOST_GROUPS = 65_536;

/**
 * Looks up `user[:group]` (names or numbers, empty is root) and the names of `groups` in the image's own /etc/passwd
 * and /etc/group. A number needs no entry; a name without one is refused with `invalid` and Docker's words.
 */
export function resolveUser(rootfs: Root, userSpec: string, groups: readonly string[] = []): ProcessUser {
  return lookUp(userSpec, groups, readTable(rootfs, "/etc/passwd"), readTable(rootfs, "/etc/group"));
}

/** The look-up itself; rows are fields split at colons. Exported for its table of tests. */
export function lookUp(
  userSpec: string,
  groups: readonly string[],
  passwd: readonly (readonly string[])[],
  group: readonly (readonly string[])[],
): ProcessUser {
  const [userName = "", groupName = ""] = userSpec.split(":");
  const wantedUid = userName === "" ? 0 : parseId(userName);
  const entry = passwd.find((row) =>
    wantedUid === undefined ? row[0] === userName : row.length > 2 && parseEntryId(row[2]) === wantedUid,
  );
  const uid = entry === undefined ? wantedUid : parseEntryId(entry[2]);
  if (uid === undefined) {
    throw new GantryError("invalid", `unable to find user ${userName}: no matching entries in passwd file`);
  }
  const memberOf =
    entry === undefined || groupName !== ""
      ? []
      : group.filter((row) => `,${row[3] ?? ""},`.includes(`,${entry[0] ?? ""},`));
  const gid = groupName === "" ? (parseEntryId(entry?.[3]) ?? 0) : findGroup(groupName, group);
  const additional = new Set([
    gid,
    ...memberOf.flatMap((row) => parseEntryId(row[2]) ?? []),
    ...groups.map((name) => findGroup(name, group)),
  ]);
  if (additional.size > MOST_GROUPS) {
    throw new GantryError("invalid", `user ${userName} is in more than ${MOST_GROUPS} groups`);
  }
  return { uid, gid, additionalGids: [...additional], home: entry?.[5] || "/" };
}

function findGroup(name: string, group: readonly (readonly string[])[]): number {
  const wanted = parseId(name);
  if (wanted !== undefined) return wanted;
  const found = parseEntryId(group.find((row) => row[0] === name)?.[2]);
  if (found === undefined) {
    throw new GantryError("invalid", `unable to find group ${name}: no matching entries in group file`);
  }
  return found;
}

function parseId(text: string): number | undefined {
  if (!/^-?\d+$/.test(text)) return undefined;
  const id = Number(text);
  if (id < 0 || id > MAX_ID) throw new GantryError("invalid", `uids and gids must be in range 0-${MAX_ID}`);
  return id;
}

/** A bad number in the image's file is an entry that isn't there. */
function parseEntryId(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) && Number(text) <= MAX_ID ? Number(text) : undefined;
}

function readTable(rootfs: Root, path: string): string[][] {
  try {
    return [...userRows(readFileInRoot(rootfs, path, MAX_FILE).toString("utf8"), path)];
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return [];
    throw error;
  }
}
