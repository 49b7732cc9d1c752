import { csvFields } from "../base/csv.ts";
import { messageOf } from "../base/errors.ts";
import { parseBool } from "../base/parse-bool.ts";
import { ramInBytes } from "../base/units.ts";
import { quote } from "./go-text.ts";
import { invalid } from "./source.ts";
import { withSuggestion } from "./suggest.ts";

/** One `--mount` of RUN. */
export interface Mount {
  readonly type: MountType;
  readonly from: string;
  readonly source: string;
  readonly target: string;
  readonly readonly: boolean;
  /** Bytes of a tmpfs; 0 is no limit. */
  readonly size: number;
  readonly id: string;
  readonly sharing: "" | "shared" | "private" | "locked";
  readonly required: boolean;
  /** Name of the variable that a secret is put in. */
  readonly env: string | undefined;
  readonly mode: number | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export type MountType = "bind" | "cache" | "tmpfs" | "secret" | "ssh";

const TYPES: readonly MountType[] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARING = ["shared", "private", "locked"] as const;
const KEYS = (
  "type from source target readonly id sharing required size mode uid gid " + "src dst destination ro rw readwrite env"
).split(" ");
const MOST = 2 ** 32 - 1;

type Draft = { -readonly [Key in keyof Mount]: Mount[Key] };

/** Reads a mount; `expand` puts variables into each value. Throws `invalid` in BuildKit's words. */
export function readMount(text: string, expand: (value: string) => string): Mount {
  const draft: Draft = {
    type: "bind",
    from: "",
    source: "",
    target: "",
    readonly: false,
    size: 0,
    id: "",
    sharing: "",
    required: false,
    env: undefined,
    mode: undefined,
    uid: undefined,
    gid: undefined,
  };
  const state = { readonlyGiven: false };
  for (const field of fieldsOf(text)) {
    const equals = field.indexOf("=");
    const key = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    if (equals < 0) setBare(draft, key, field, state);
    else setValue(draft, key, expand(field.slice(equals + 1)), field, state);
  }
  if (!state.readonlyGiven) draft.readonly = draft.type !== "cache" && draft.type !== "tmpfs";
  check(draft);
  return draft;
}

/** The `from` of a mount, before variables are known: which stage has to be there. Variables in it are refused. */
export function mountFrom(text: string): string {
  let from = "";
  for (const field of fieldsOf(text)) {
    const equals = field.indexOf("=");
    if (equals < 0 || field.slice(0, equals).toLowerCase() !== "from") continue;
    from = field.slice(equals + 1);
    const dollar = from.indexOf("$");
    if (dollar >= 0 && dollar !== from.length - 1) {
      throw invalid("'from' doesn't support variable expansion, define alias stage instead");
    }
  }
  return from;
}

function fieldsOf(text: string): readonly string[] {
  try {
    return csvFields(text);
  } catch (error) {
    throw invalid(`failed to parse csv mounts: ${messageOf(error)}`);
  }
}

function setBare(draft: Draft, key: string, field: string, state: { readonlyGiven: boolean }): void {
  switch (key) {
    case "readonly":
    case "ro":
    case "readwrite":
    case "rw":
      draft.readonly = key.startsWith("readonly") || key === "ro";
      state.readonlyGiven = true;
      return;
    case "required":
      requireType(draft, key, ["secret", "ssh"]);
      draft.required = true;
      return;
    default:
      throw invalid(`invalid field '${field}' must be a key=value pair`);
  }
}

function setValue(draft: Draft, key: string, value: string, field: string, state: { readonlyGiven: boolean }): void {
  switch (key) {
    case "type":
      draft.type = oneOf(value, TYPES, `unsupported mount type ${quote(value)}`);
      return;
    case "from":
      draft.from = value;
      return;
    case "source":
    case "src":
      draft.source = value;
      return;
    case "target":
    case "dst":
    case "destination":
      draft.target = value;
      return;
    case "readonly":
    case "ro":
    case "readwrite":
    case "rw":
      draft.readonly = boolean(key, value) === (key === "readonly" || key === "ro");
      state.readonlyGiven = true;
      return;
    case "required":
      requireType(draft, key, ["secret", "ssh"]);
      draft.required = boolean(key, value);
      return;
    case "size":
      requireType(draft, key, ["tmpfs"]);
      draft.size = bytes(key, value);
      return;
    case "id":
      draft.id = value;
      return;
    case "sharing":
      draft.sharing = oneOf(value, SHARING, `unsupported sharing value ${quote(value)}`);
      return;
    case "mode":
    case "uid":
    case "gid":
      draft[key] = number(key, value);
      return;
    case "env":
      draft.env = value;
      return;
    default:
      throw invalid(withSuggestion(`unexpected key '${key}' in '${field}'`, key, KEYS));
  }
}

function check(mount: Mount): void {
  if (mount.type === "bind" || mount.type === "tmpfs") {
    for (const key of ["mode", "uid", "gid"] as const) {
      if (mount[key] !== undefined) throw invalid(`${key} not allowed for ${quote(mount.type)} type mounts`);
    }
  }
  if (mount.type === "secret") checkSecret(mount);
  if (mount.type === "ssh" && mount.source !== "") throw invalid("ssh does not support source");
  if (mount.sharing !== "" && mount.type !== "cache") {
    throw invalid(`invalid cache sharing set for ${mount.type} mount`);
  }
}

function checkSecret(mount: Mount): void {
  if (mount.from !== "") throw invalid("secret mount should not have a from");
  if (mount.sharing !== "") throw invalid("secret mount should not define sharing");
  if (mount.source === "" && mount.target === "" && mount.id === "") {
    throw invalid("invalid secret mount. one of source, target required");
  }
  if (mount.source !== "" && mount.id !== "") throw invalid("both source and id can't be set");
}

function requireType(draft: Draft, key: string, types: readonly MountType[]): void {
  if (!types.includes(draft.type)) throw invalid(`unexpected key '${key}' for mount type '${draft.type}'`);
}

function oneOf<T extends string>(value: string, options: readonly T[], message: string): T {
  const found = options.find((option) => option === value.toLowerCase());
  if (found === undefined) throw invalid(withSuggestion(message, value, options));
  return found;
}

function boolean(key: string, value: string): boolean {
  const answer = parseBool(value);
  if (answer === undefined) throw invalid(`invalid value for ${key}: ${value}`);
  return answer;
}

function bytes(key: string, value: string): number {
  try {
    return ramInBytes(value);
  } catch {
    throw invalid(`invalid value for ${key}: ${value}`);
  }
}

function number(key: "mode" | "uid" | "gid", value: string): number {
  const digits = key === "mode" ? /^[0-7]+$/ : /^[0-9]+$/;
  const parsed = digits.test(value) ? Number.parseInt(value, key === "mode" ? 8 : 10) : Number.NaN;
  if (!(parsed <= MOST)) throw invalid(`invalid value ${value} for ${key}`);
  return parsed;
}
