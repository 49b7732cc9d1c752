import { existsSync, statSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative, resolve } from "node:path";
import { GantryError } from "../../base/errors.ts";
import type { Asked } from "./asked.ts";
import type { Folder } from "./folder.ts";
import { beginning, type Input, isArchive, readInput, whole } from "./input.ts";
import { layoutDigest } from "./layout-digest.ts";
import { LayoutStore } from "./layout-store.ts";
import { pair } from "./typed.ts";
import { realFolder } from "./walk.ts";

const UPLOAD_URL = "http://buildkit-session/context";
const REMOTE = /^(?:https?|git|ssh):\/\/|^git@|^github\.com\//;

/** True for an address that the engine fetches from, whatever is here under that name. */
export function isAddress(place: string): boolean {
  return REMOTE.test(place);
}

/** True for a context that the engine fetches by itself. */
export function isRemote(context: string): boolean {
  return !existsSync(context) && isAddress(context);
}

/** Where the context and the Dockerfile come from. */
export async function contextOf(
  asked: Asked,
  input: Input,
  options: Record<string, string>,
  folders: Map<string, Folder>,
): Promise<{ readonly upload: AsyncIterable<Uint8Array> | undefined; readonly folder: string | undefined }> {
  const { context, file, inline } = asked;
  if (context === "-" && file === "-")
    throw new GantryError("invalid", "invalid argument: can't use stdin for both build context and dockerfile");
  const dockerfile = inline !== undefined ? Buffer.from(inline) : file === "-" ? await readInput(input) : undefined;
  if (dockerfile !== undefined) folders.set("dockerfile", { files: new Map([["Dockerfile", dockerfile]]) });
  if (context === "-") {
    if (input.isTerminal)
      throw new GantryError("invalid", "stdin is a terminal: give the context by a pipe, or a folder");
    const { head, rest } = await beginning(input.stream());
    if (isArchive(head)) {
      options.context = UPLOAD_URL;
      if (file !== "") options.filename = file;
      return { upload: rest, folder: undefined };
    }
    folders.set("dockerfile", { files: new Map([["Dockerfile", await whole(rest)]]) });
    folders.set("context", { files: new Map() });
    return { upload: undefined, folder: undefined };
  }
  if (isRemote(context)) {
    options.context = context;
    if (dockerfile !== undefined) options.dockerfilekey = "dockerfile";
    else if (file !== "") options.filename = file;
    return { upload: undefined, folder: undefined };
  }
  const folder = realFolder(context);
  folders.set("context", { path: folder });
  if (dockerfile === undefined) dockerfileOf(folder, file, options, folders);
  return { upload: undefined, folder };
}

/** A Dockerfile lies in the context or elsewhere; its folder is all that is sent for it. */
function dockerfileOf(
  folder: string,
  file: string,
  options: Record<string, string>,
  folders: Map<string, Folder>,
): void {
  const path = file === "" ? defaultDockerfile(folder) : resolve(file);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined && file !== "" && !isAbsolute(file)) {
    // A name that is no file here may be one of the context's.
    const within = join(folder, file);
    if (statSync(within, { throwIfNoEntry: false })?.isFile()) {
      dockerfileOf(folder, within, options, folders);
      return;
    }
  }
  if (found?.isDirectory()) throw new GantryError("invalid", `cannot read the Dockerfile ${path}: it is a folder`);
  const inside = relative(folder, path);
  if (inside.startsWith("..") || isAbsolute(inside)) {
    folders.set("dockerfile", { path: dirname(path) });
    options.filename = basename(path);
  } else {
    // One question for it, its ignore file and the context's, where they are in one folder.
    options.dockerfilekey = "context";
    options.filename = inside;
  }
}

function defaultDockerfile(folder: string): string {
  const path = join(folder, "Dockerfile");
  if (existsSync(path)) return path;
  const lower = join(folder, "dockerfile");
  return existsSync(lower) ? lower : path;
}

/** `--build-context name=…`: a folder, an image, a layout, a repository or a URL. */
export function namedContext(
  given: string,
  options: Record<string, string>,
  folders: Map<string, Folder>,
  stores: Map<string, LayoutStore>,
): void {
  const [name, place] = pair(given);
  if (place === undefined || name === "") {
    throw new GantryError("invalid", `invalid context value: ${given}, expected key=value`);
  }
  if (place.startsWith("oci-layout://")) {
    const [, path = "", suffix = ""] =
      /^([^@]*?)((?:@|:(?=[^/]*$)).*)?$/.exec(place.slice("oci-layout://".length)) ?? [];
    const folder = realFolder(path);
    const store = `layout-${stores.size}`;
    stores.set(`oci:${store}`, new LayoutStore(folder));
    options[`context:${name}`] =
      `oci-layout://${store}${suffix.startsWith("@") ? suffix : `@${layoutDigest(folder, suffix.slice(1))}`}`;
    return;
  }
  if (/^[a-z-]+:\/\//.test(place) || (isAddress(place) && !existsSync(place))) {
    options[`context:${name}`] = place;
    return;
  }
  const key = `context:${name}`;
  folders.set(key, { path: realFolder(place) });
  options[key] = `local:${key}`;
}
