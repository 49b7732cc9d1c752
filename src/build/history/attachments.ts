import { writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { GantryError, hasCode } from "../../base/errors.ts";
import { sha256Of } from "../../oci/digest.ts";
import type { BuildAttachment, KeptAttachment } from "../builder.ts";

/** Bytes of all of a build; what would be more is not kept. */
const MOST_BYTES = 4 << 20;

/** Puts documents one behind the other into a file of their own. */
export function writeAttachments(path: string, attachments: readonly BuildAttachment[]): readonly KeptAttachment[] {
  const kept: KeptAttachment[] = [];
  const pieces: Uint8Array[] = [];
  let offset = 0;
  for (const { bytes, ...rest } of attachments) {
    if (offset + bytes.length > MOST_BYTES) continue;
    kept.push({ ...rest, digest: sha256Of(bytes), size: bytes.length, offset });
    pieces.push(bytes);
    offset += bytes.length;
  }
  writeFileSync(path, Buffer.concat(pieces), { mode: 0o600 });
  return kept;
}

/** Rejects with not-found where the file is not what it was. */
export async function readAttachment(path: string, { digest, offset, size }: KeptAttachment): Promise<Uint8Array> {
  const missing = () => new GantryError("not-found", `${digest} is not in the history any more`);
  try {
    await using file = await open(path, "r");
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await file.read(bytes, 0, size, offset);
    if (bytesRead !== size || sha256Of(bytes) !== digest) throw missing();
    return bytes;
  } catch (error) {
    throw hasCode(error, "ENOENT") ? missing() : error;
  }
}
