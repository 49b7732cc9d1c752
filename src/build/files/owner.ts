import { GantryError, hasCode } from "../../base/errors.ts";
import { userRows } from "../../base/user-rows.ts";
import { readFileInRoot } from "../../kernel/path.ts";
import type { Owner } from "../graph.ts";

export interface Ids {
  readonly uid: number;
  readonly gid: number;
}

const MOST_BYTES = 10 << 20;
const LARGEST_ID = 0xffff_fffe;

/**
 * Who an owner is in a root. A user's own group is that of `/etc/passwd`, or its number. A user without an entry is root,
 * a group without one the user's own, as BuildKit has it, and `onMissing` is told.
 */
export function resolveOwner(root: number, { user, group }: Owner, onMissing: (what: string) => void): Ids {
  const uid = idOf(user);
  const own = uid === undefined ? findUser(root, String(user), onMissing) : { uid, gid: uid };
  if (group === undefined) return own;
  return { uid: own.uid, gid: idOf(group) ?? findGroup(root, String(group), onMissing) ?? own.gid };
}

/** undefined for a name. */
function idOf(user: string | number): number | undefined {
  if (typeof user === "string" && !/^\d+$/.test(user)) return undefined;
  const id = Number(user);
  if (!Number.isInteger(id) || id < 0 || id > LARGEST_ID)
    throw new GantryError("invalid", `no owner has the number ${id}`);
  return id;
}

function findUser(root: number, name: string, onMissing: (what: string) => void): Ids {
  for (const row of rowsOf(root, "/etc/passwd")) {
    const [uid, gid] = [numberOf(row[2]), numberOf(row[3])];
    if (row[0] === name && uid !== undefined) return { uid, gid: gid ?? 0 };
  }
  onMissing(`user ${name} is not in /etc/passwd of the image: root is the owner`);
  return { uid: 0, gid: 0 };
}

function findGroup(root: number, name: string, onMissing: (what: string) => void): number | undefined {
  for (const row of rowsOf(root, "/etc/group")) {
    const gid = numberOf(row[2]);
    if (row[0] === name && gid !== undefined) return gid;
  }
  onMissing(`group ${name} is not in /etc/group of the image: the owner's own group is taken`);
  return undefined;
}

function* rowsOf(root: number, path: string): Generator<string[]> {
  let text: string;
  try {
    text = readFileInRoot(root, path, MOST_BYTES).toString("utf8");
  } catch (error) {
    if (hasCode(error, "ENOENT", "ENOTDIR", "ELOOP")) return;
    throw error;
  }
  yield* userRows(text, path);
}

function numberOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  return Number(text) <= LARGEST_ID ? Number(text) : undefined;
}
