import { GantryError, messageOf } from "../../base/errors.ts";
import { readBody, readTar } from "../../oci/tar/reader.ts";
import { type TarOutput, writeTar } from "../../oci/tar/writer.ts";
import { type ContextMeta, parseMeta, type TlsFiles } from "./store.ts";
import { readZip } from "./zip.ts";

/** Most bytes of a context that is imported, and of each file in it: as in Docker. */
const MOST = 10 * 1024 * 1024;

/** A context as a tar archive, the same bytes for the same context. */
export function writeContext(meta: ContextMeta, tls: TlsFiles): AsyncIterable<Buffer> {
  const members: TarOutput[] = [file("meta.json", 0o644, Buffer.from(JSON.stringify(meta))), folder("tls")];
  for (const [endpoint, files] of Object.entries(tls)) {
    members.push(folder(`tls/${endpoint}`));
    for (const [name, data] of Object.entries(files)) members.push(file(`tls/${endpoint}/${name}`, 0o600, data));
  }
  return writeTar(members);
}

function file(name: string, mode: number, data: Uint8Array): TarOutput {
  return { entry: { name, type: "file", mode, size: data.length }, body: [data] };
}

function folder(name: string): TarOutput {
  return { entry: { name, type: "directory", mode: 0o700 } };
}

/** Reads a context from a tar or zip archive. Anything in it that is none of a context's files is refused. */
export async function readContext(
  source: AsyncIterable<Uint8Array>,
  name: string,
): Promise<{ readonly meta: ContextMeta; readonly tls: TlsFiles }> {
  const bytes = await bounded(source);
  const isZip = bytes.length > 4 && bytes.readUInt32LE(0) === 0x04034b50;
  const files = isZip ? readZip(bytes, MOST) : await tarFiles(bytes);
  let meta: ContextMeta | undefined;
  const tls: Record<string, Record<string, Uint8Array>> = {};
  for (const { path, data } of files) {
    const [top = "", endpoint = "", leaf = "", ...more] = checkedPath(path);
    if (path === "meta.json") {
      meta = parseMeta(data.toString(), name);
    } else if (top === "tls" && endpoint !== "" && leaf !== "" && more.length === 0) {
      tls[endpoint] ??= {};
      (tls[endpoint] as Record<string, Uint8Array>)[leaf] = data;
    } else {
      throw new GantryError("invalid", `${path}: unexpected context file`);
    }
  }
  if (meta === undefined) throw new GantryError("invalid", "invalid context: no metadata found");
  return { meta, tls };
}

interface ContextFile {
  readonly path: string;
  readonly data: Buffer;
}

async function tarFiles(bytes: Buffer): Promise<readonly ContextFile[]> {
  const files: ContextFile[] = [];
  for await (const member of readTar(one(bytes))) {
    if (member.entry.type === "directory") continue;
    if (member.entry.type !== "file") {
      throw new GantryError("invalid", `${member.entry.name}: unexpected context file`);
    }
    files.push({ path: member.entry.name, data: await readBody(member, MOST) });
  }
  return files;
}

/** The parts of a path that is in its shortest form and stays below its root. */
function checkedPath(path: string): readonly string[] {
  const parts = path.split("/");
  const odd = parts.some((part) => part === "" || part === "." || part === ".." || /[\\\0]/.test(part));
  if (odd) throw new GantryError("invalid", `${path}: unexpected path format`);
  return parts;
}

async function* one(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

async function bounded(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of source) {
      size += chunk.length;
      if (size > MOST) throw new GantryError("invalid", "unexpected size of file: a context has at most 10 MiB");
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof GantryError) throw error;
    throw new GantryError("invalid", `cannot read the context: ${messageOf(error)}`, { cause: error });
  }
  return Buffer.concat(chunks);
}
