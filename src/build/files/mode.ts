import { constants } from "node:fs";
import { GantryError } from "../../base/errors.ts";

/** What `--chmod` makes of a file's permissions. */
export type ModeChange = (permissions: number, isFolder: boolean) => number;

const WHO = { u: 0o4700, g: 0o2070, o: 0o1007 } as const;
const BITS = { r: 0o444, w: 0o222, x: 0o111, s: 0o6000, t: 0o1000 } as const;
const CLAUSE = /^([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)$/;

/** An octal number up to 07777, or chmod(1)'s symbols (`u+rwX,go-w`, without a umask). Throws `invalid`. */
export function modeChange(mode: number | string): ModeChange {
  if (typeof mode === "number") return () => mode & 0o7777;
  if (/^[0-7]+$/.test(mode)) {
    const octal = Number.parseInt(mode, 8);
    if (octal <= 0o7777) return () => octal;
  }
  if (mode === "" || /^\d/.test(mode)) {
    throw new GantryError(
      "invalid",
      `invalid chmod parameter: '${mode}'. it should be octal string and between 0 and 07777`,
    );
  }
  const clauses = mode.split(",").map((clause) => clauseOf(clause, mode));
  return (permissions, isFolder) => clauses.reduce<number>((now, change) => change(now, isFolder), permissions);
}

function clauseOf(clause: string, mode: string): ModeChange {
  const match = CLAUSE.exec(clause);
  if (match === null) throw new GantryError("invalid", `invalid chmod parameter: '${mode}'. it is no mode of chmod(1)`);
  const [, who = "", actions = ""] = match;
  const letters: readonly (keyof typeof WHO)[] =
    who === "" || who.includes("a") ? ["u", "g", "o"] : ([...who] as (keyof typeof WHO)[]);
  const reach = letters.reduce((all, letter) => all | WHO[letter], 0);
  const changes = [...actions.matchAll(/([-+=])([ugo]|[rwxXst]*)/g)].map(([, sign = "", what = ""]): ModeChange => {
    return (now, isFolder) => {
      // `t` is everybody's, whoever is named.
      const bits = bitsOf(what, now, isFolder) & (reach | (what.includes("t") ? 0o1000 : 0));
      if (sign === "+") return now | bits;
      if (sign === "-") return now & ~bits;
      // A folder keeps what it hands down unless that is named.
      const kept = isFolder ? now & 0o6000 : 0;
      return (now & ~reach) | bits | kept;
    };
  });
  return (permissions, isFolder) => changes.reduce<number>((now, change) => change(now, isFolder), permissions);
}

function bitsOf(what: string, now: number, isFolder: boolean): number {
  if (what === "u" || what === "g" || what === "o") {
    const three = (now >> { u: 6, g: 3, o: 0 }[what]) & 7;
    return three * 0o111;
  }
  let bits = 0;
  for (const letter of what) {
    if (letter === "X") bits |= isFolder || (now & 0o111) !== 0 ? 0o111 : 0;
    else bits |= BITS[letter as keyof typeof BITS];
  }
  return bits;
}

/** The permissions of a file's mode. */
export function permissionsOf(mode: number): number {
  return mode & ~constants.S_IFMT & 0o7777;
}
