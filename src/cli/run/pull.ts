import type { EngineClient } from "../../client/client.ts";
import { splitTag } from "./reference.ts";

/** Pulls an image; its progress goes to standard error, since standard output is the container's. */
export async function pullImage(
  client: EngineClient,
  reference: string,
  platform: string,
  quiet: boolean,
): Promise<void> {
  const { name, tag } = splitTag(reference);
  const { showProgress } = await import("../output/progress.ts");
  const { body } = await client.stream("POST", "/images/create", { query: { fromImage: name, tag, platform } });
  await showProgress(body, 2, quiet);
}
