/**
 * Reads a message of protobuf's JSON mapping: fields go by their name in JSON or by that in the schema, null stands for
 * absent, and of what isn't known nothing is passed over. Throws a plain Error whose message is the reason.
 */
export function readMessage<const Name extends string>(
  value: unknown,
  what: string,
  names: readonly Name[],
): Partial<Record<Name, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${what} is no object`);
  const known = new Map<string, Name>(names.flatMap((name) => [[name, name] as const, [schemaName(name), name]]));
  const found = new Map<Name, unknown>();
  for (const [key, field] of Object.entries(value)) {
    const name = known.get(key);
    if (name === undefined) throw new Error(`${what} has the unknown field ${JSON.stringify(key.slice(0, 100))}`);
    if (found.has(name)) throw new Error(`${what} has the field ${name} twice`);
    found.set(name, field ?? undefined);
  }
  return Object.fromEntries(found) as Partial<Record<Name, unknown>>;
}

/** Absent is empty, as everywhere in protobuf. */
export function readText(value: unknown, what: string): string {
  if (value === undefined) return "";
  if (typeof value !== "string") throw new Error(`${what} is no text`);
  return value;
}

/** As `readText`. */
export function readList(value: unknown, what: string): readonly unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Error(`${what} is no list`);
  return value;
}

/** As `readText`: base64 of either alphabet, padded or not, of which nothing is to be guessed. */
export function readBytes(value: unknown, what: string): Buffer {
  const text = readText(value, what);
  const bytes = Buffer.from(text, "base64");
  const bare = text.replace(/={1,2}$/, "");
  const isPadded = bare.length === text.length || text.length % 4 === 0;
  const isThis = ["base64", "base64url"].some(
    (alphabet) => bytes.toString(alphabet as BufferEncoding).replace(/=+$/, "") === bare,
  );
  if (!isPadded || !isThis) throw new Error(`${what} is not base64`);
  return bytes;
}

/** `mediaType` is `media_type` in the schema; a name that begins by `_` has none of its own there. */
function schemaName(name: string): string {
  return name.replace(/^_/, "").replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
