import { formatReference, parseNormalized, tagNameOnly } from "../oci/reference.ts";
import type { AskedSource, DescribedSource } from "./asked-source.ts";
import type { BuildOptions, BuildRequest } from "./builder.ts";
import type { Vertex } from "./graph.ts";
import type { BuildSources } from "./parts.ts";

/** Asks the client, the image store or the network; nothing but what describes it is fetched, and a file. */
export async function describeSource(
  sources: BuildSources,
  request: BuildRequest,
  asked: AskedSource,
  options: Pick<BuildOptions, "onEvent" | "signal">,
): Promise<DescribedSource> {
  await using inputs = sources.open(request, options);
  if (asked.kind === "image") {
    const name = formatReference(tagNameOnly(parseNormalized(asked.reference)));
    const { config, id, reference } = await inputs.ports.resolveBase(name, asked.platform, { pull: asked.pull });
    return { config, reference, digest: parseNormalized(reference).digest ?? id };
  }
  if (asked.kind === "layout") {
    const { config, digest } = await inputs.ports.resolveLayout(asked.reference, asked.platform);
    return { config, digest };
  }
  const name = asked.kind === "git" ? asked.remote : asked.url;
  const vertex: Vertex = { id: "", operation: asked, inputs: [], name, stage: "", site: "" };
  const context = { request, vertex, signal: options.signal, onEvent: () => {} };
  const { digest = "" } =
    asked.kind === "git"
      ? await sources.operators.git.resolve!(asked, context)
      : await sources.operators.http.resolve!(asked, context);
  return { digest };
}
