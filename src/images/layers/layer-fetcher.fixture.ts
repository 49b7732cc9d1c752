import { buffer } from "node:stream/consumers";
import { writeTar } from "../../oci/tar/writer.ts";

/** A tar of files with these contents, whole. */
export async function gatheredTar(files: Readonly<Record<string, string | Buffer>>): Promise<Buffer> {
  return await buffer(
    writeTar(
      Object.entries(files).map(([name, content]) => {
        const body = Buffer.from(content);
        return { entry: { name, type: "file" as const, size: body.length }, body: [body] };
      }),
    ),
  );
}
