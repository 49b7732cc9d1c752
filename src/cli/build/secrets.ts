import { readFileSync, statSync } from "node:fs";
import { csvFields } from "../../base/csv.ts";
import { GantryError } from "../../base/errors.ts";
import { errorLine } from "../error-line.ts";

/** BuildKit's own limit. */
const MAX_BYTES = 500 << 10;

/** Where the secrets of `--secret` come from, by their ids. They are read when a step asks for them. */
export class Secrets {
  readonly #sources = new Map<string, { readonly file: string } | { readonly env: string }>();
  readonly #env: NodeJS.ProcessEnv;

  /** `id=x,src=FILE`, `id=x,env=NAME`, `id=x` for the environment's or a file of that name. Throws invalid. */
  constructor(specs: readonly string[], env: NodeJS.ProcessEnv) {
    this.#env = env;
    for (const spec of specs) this.#add(spec);
  }

  get isEmpty(): boolean {
    return this.#sources.size === 0;
  }

  /** Undefined if there is none of this id. */
  get(id: string): Uint8Array | undefined {
    const source = this.#sources.get(id);
    if (source === undefined) return undefined;
    if ("env" in source) return Buffer.from(this.#env[source.env] ?? "");
    return readFileSync(source.file);
  }

  #add(spec: string): void {
    const fields = new Map<string, string>();
    for (const field of csvFields(spec)) {
      const equals = field.indexOf("=");
      if (equals < 0) throw new GantryError("invalid", `invalid field '${field}' must be a key=value pair`);
      fields.set(field.slice(0, equals).toLowerCase(), field.slice(equals + 1));
    }
    const type = fields.get("type") ?? "";
    const id = fields.get("id") ?? "";
    for (const name of fields.keys()) {
      if (!["type", "id", "source", "src", "env"].includes(name))
        throw new GantryError("invalid", `unexpected key '${name}' in '${spec}'`);
    }
    if (type !== "" && type !== "file" && type !== "env")
      throw new GantryError("invalid", `unsupported secret type "${type}"`);
    if (id === "") throw new GantryError("invalid", `secret missing ID in '${spec}': give id=NAME`);
    const source = fields.get("source") ?? fields.get("src") ?? "";
    const variable = fields.get("env") ?? (type === "env" ? source || id : "");
    if (variable !== "") {
      this.#sources.set(id, { env: variable });
    } else if (source === "" && type === "" && this.#env[id] !== undefined) {
      this.#sources.set(id, { env: id });
    } else {
      this.#sources.set(id, { file: checkedFile(source || id) });
    }
  }
}

function checkedFile(path: string): string {
  let size: number;
  try {
    size = statSync(path).size;
  } catch (error) {
    throw new GantryError("invalid", `failed to stat ${path}: ${errorLine(error)}`);
  }
  if (size > MAX_BYTES) throw new GantryError("invalid", `secret ${path} too big. max size 500KB`);
  return path;
}
