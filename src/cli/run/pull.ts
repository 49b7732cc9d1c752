import { repositoryOf, tagNameOnly } from "../../oci/reference.ts";
import type { Call } from "../command.ts";
import { registryAuth } from "../credentials/headers.ts";
import { showProgress } from "../output/progress.ts";
import { registryReference } from "./registry-name.ts";

/** Pulls an image by its name; its progress goes to standard error, since standard output is the container's. */
export async function pullImage(call: Call, name: string, platform: string, quiet: boolean): Promise<void> {
  const reference = tagNameOnly(await registryReference(call.client, name));
  const { body } = await call.client.stream("POST", "/images/create", {
    query: { fromImage: repositoryOf(reference), tag: reference.digest ?? reference.tag, platform },
    headers: await registryAuth(call, reference.domain),
  });
  await showProgress(body, 2, { quiet, sums: true });
}
