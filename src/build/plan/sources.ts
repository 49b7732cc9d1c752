import { GantryError, messageOf } from "../../base/errors.ts";
import { draftOf } from "../../dockerfile/config-effect.ts";
import { cleanPath, quote } from "../../dockerfile/go-text.ts";
import { invalid } from "../../dockerfile/source.ts";
import type { ImageConfig, Platform } from "../../oci/image.ts";
import { formatPlatform } from "../../oci/platform.ts";
import { familiarString, formatReference, parseNormalized, tagNameOnly } from "../../oci/reference.ts";
import type { GitUrl } from "../git-url.ts";
import { checkoutOf, parseGitUrl } from "../git-url.ts";
import type { LocalOperation, Operation } from "../graph.ts";
import { withoutPassword } from "../shown-address.ts";
import type { DraftVertex } from "./draft-graph.ts";
import type { Origin, OriginImage } from "./stage-state.ts";
import type { IgnorePatterns, PlanInput } from "./types.ts";

/** The Docker default, of images that set none. */
export const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SCHEMES = { image: "docker-image://", layout: "oci-layout://", local: "local:", input: "input:" } as const;

interface Folder {
  readonly vertex: DraftVertex;
  readonly paths: Set<string>;
}

/** Where roots come from that no stage makes: contexts and images. Each is asked for once, for all platforms. */
export class Sources {
  readonly #input: PlanInput;
  readonly #named: ReadonlyMap<string, string>;
  readonly #folders = new Map<string, Promise<Folder>>();
  readonly #images = new Map<string, Promise<Origin>>();

  constructor(input: PlanInput) {
    this.#input = input;
    this.#named = new Map([...input.request.namedContexts].map(([name, value]) => [normalName(name), value]));
  }

  /** Names that a Dockerfile can use, for suggestions. */
  get names(): readonly string[] {
    return [...this.#named.keys()];
  }

  /** What a name stands for by `--build-context`; undefined if by none. */
  named(name: string, platform: Platform): string | undefined {
    const normal = normalName(name);
    if (normal === "scratch" || normal === "context") return undefined;
    return this.#named.get(`${normal}::${formatPlatform(platform)}`) ?? this.#named.get(normal);
  }

  /** The main context, or what a named one is. */
  context(name: string, platform: Platform): Promise<Origin> {
    if (name === "context") return this.#main(platform);
    const value = this.named(name, platform);
    if (value === undefined) throw invalid(`no context is named ${quote(name)}`);
    return this.ofValue(name, value, platform);
  }

  async ofValue(name: string, value: string, platform: Platform): Promise<Origin> {
    if (value.startsWith(SCHEMES.image)) return this.image(value.slice(SCHEMES.image.length), platform);
    if (value.startsWith(SCHEMES.layout)) return this.#layout(value.slice(SCHEMES.layout.length), platform);
    if (value.startsWith(SCHEMES.local)) return this.#local(name, value.slice(SCHEMES.local.length), platform);
    if (value.startsWith(SCHEMES.input)) return this.#result(name, value.slice(SCHEMES.input.length), platform);
    const git = parseGitUrl(value);
    if (git !== undefined) return this.#whole(gitVertex(git, undefined), platform);
    if (/^https?:\/\//.test(value)) return this.#whole(archiveVertex(name, value, platform), platform);
    throw invalid(`unsupported context source ${quote(value)} for ${quote(name)}`);
  }

  /** Throws `invalid` for what can be no image's name. */
  requireName(name: string): void {
    referenceOf(name);
  }

  /** An image by the name that is written. A failure begins with that name. */
  image(name: string, platform: Platform): Promise<Origin> {
    const reference = referenceOf(name);
    const key = `${reference} ${formatPlatform(platform)}`;
    const known = this.#images.get(key) ?? this.#resolveImage(name, reference, platform);
    this.#images.set(key, known);
    return known;
  }

  async #resolveImage(name: string, reference: string, platform: Platform): Promise<Origin> {
    const { pull } = this.#input.request;
    let resolved: Awaited<ReturnType<PlanInput["ports"]["resolveBase"]>>;
    try {
      resolved = await this.#input.ports.resolveBase(reference, platform, { pull });
    } catch (error) {
      if (!(error instanceof GantryError) || error.kind === "cancelled") throw error;
      const message = error.message.startsWith(`${name}: `) ? error.message : `${name}: ${error.message}`;
      throw new GantryError(error.kind, message, { cause: error });
    }
    const base = { reference: resolved.reference, id: resolved.id };
    const operation = { kind: "image", reference, id: resolved.id, platform } as const;
    return imageOrigin(operation, `FROM ${resolved.reference}`, resolved.config, platform, base);
  }

  #layout(value: string, platform: Platform): Promise<Origin> {
    const key = `${SCHEMES.layout}${value} ${formatPlatform(platform)}`;
    const known = this.#images.get(key) ?? this.#resolveLayout(value, platform);
    this.#images.set(key, known);
    return known;
  }

  async #resolveLayout(value: string, platform: Platform): Promise<Origin> {
    const { store, digest, config } = await this.#input.ports.resolveLayout(value, platform);
    const operation = { kind: "layout", store, digest, platform } as const;
    return imageOrigin(operation, `FROM oci-layout://${value}`, config, platform, undefined);
  }

  /** Its layers stay its steps', of which the image made here has a row each. */
  async #result(name: string, input: string, platform: Platform): Promise<Origin> {
    const build = this.#input.request.inputs?.get(input);
    if (build === undefined) throw invalid(`invalid input ${input} for ${name}`);
    const { key, root, target } = await build.made(platform, this.#input.signal);
    const { base, config, history } = target;
    const vertex: DraftVertex = {
      operation: { kind: "result", input, platform: target.platform, key: key ?? "" },
      inputs: [],
      name: `FROM ${name}`,
      stage: "",
      site: `result/${name}`,
    };
    const image = imageOf(config, platform, base);
    const rows = history.map(({ vertex: made, ...row }) => (made === undefined ? row : { ...row, vertex }));
    return { root: root === undefined ? undefined : vertex, platform, image: { ...image, history: rows } };
  }

  async #main(platform: Platform): Promise<Origin> {
    const { context } = this.#input.request;
    if (context.type === "none") return { root: undefined, platform };
    if (context.type === "input")
      return { root: (await this.#result("context", context.input, platform)).root, platform };
    if (context.type === "git") {
      const git = parseGitUrl(context.url);
      if (git === undefined) throw invalid(`invalid git context ${quote(context.url)}`);
      const keep = this.#input.request.buildArgs.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
      return this.#whole(gitVertex(git, keep === "1" || keep === "true"), platform);
    }
    const name = context.type === "session" ? context.name : "context";
    const folder = await this.#folder(name, "[internal] load build context", async () => this.#input.ignore);
    return folderOrigin(folder, platform);
  }

  async #local(name: string, local: string, platform: Platform): Promise<Origin> {
    const ignore = (): Promise<IgnorePatterns | undefined> => this.#input.ports.ignoreOf(local);
    return folderOrigin(await this.#folder(local, `[context ${name}] load from client`, ignore), platform);
  }

  #folder(name: string, title: string, ignore: () => Promise<IgnorePatterns | undefined>): Promise<Folder> {
    const known = this.#folders.get(name);
    if (known !== undefined) return known;
    const made = (async () => {
      const exclude = (await ignore()) ?? [];
      const paths = new Set<string>();
      const operation = (): LocalOperation => ({ kind: "local", name, exclude, followPaths: followed(paths) });
      return { vertex: { operation, inputs: [], name: title, stage: "", site: `context/${name}` }, paths };
    })();
    this.#folders.set(name, made);
    return made;
  }

  #whole(root: DraftVertex, platform: Platform): Origin {
    return { root, platform };
  }
}

/** A repository's vertex; what its address says of the `.git` folder counts before the build's wish. */
export function gitVertex(git: GitUrl, keepGitDir: boolean | undefined, name?: string): DraftVertex {
  const operation: Operation = {
    kind: "git",
    remote: git.remote,
    ref: git.ref,
    subdir: git.subdir,
    keepGitDir: git.keepGitDir ?? keepGitDir ?? false,
    ...checkoutOf(git),
  };
  const title =
    name ?? `[internal] load git source ${withoutPassword(git.remote)}${git.ref === "" ? "" : `#${git.ref}`}`;
  return { operation, inputs: [], name: title, stage: "", site: `git/${withoutPassword(git.remote)}` };
}

function archiveVertex(name: string, url: string, platform: Platform): DraftVertex {
  const fetched: DraftVertex = {
    operation: { kind: "http", url, filename: "context" },
    inputs: [],
    name: `[context ${name}] load remote build context`,
    stage: "",
    site: `http/${withoutPassword(url)}`,
  };
  const operation: Operation = {
    kind: "files",
    root: -1,
    platform,
    actions: [
      {
        type: "copy",
        input: 0,
        sources: ["/context"],
        target: "/",
        wildcard: false,
        allowEmpty: false,
        followLinks: false,
        contentsOnly: false,
        createTarget: true,
        parents: false,
        exclude: [],
        unpack: "always",
        owner: undefined,
        mode: undefined,
      },
    ],
  };
  return { operation, inputs: [fetched], name: `[context ${name}] extract`, stage: "", site: `context/${name}` };
}

/** An image as a root, with what its config says of it. */
export function imageOrigin(
  operation: Operation,
  name: string,
  config: ImageConfig,
  platform: Platform,
  base: OriginImage["base"],
): Origin {
  const isEmpty = config.rootfs.diff_ids.length === 0;
  const vertex: DraftVertex = { operation, inputs: [], name, stage: "", site: `image/${name}` };
  return { root: isEmpty ? undefined : vertex, platform, image: imageOf(config, platform, base) };
}

function imageOf(config: ImageConfig, platform: Platform, base: OriginImage["base"]): OriginImage {
  const { os, architecture, variant } = config;
  return {
    draft: draftOf(config.config ?? {}, config.author),
    platform: architecture === "" ? platform : { os, architecture, ...versionOf(config), ...(variant && { variant }) },
    history: (config.history ?? []).map((row) => ({
      createdBy: row.created_by ?? "",
      ...(row.comment !== undefined && { comment: row.comment }),
      ...(row.author !== undefined && { author: row.author }),
      ...(row.created !== undefined && { created: row.created }),
      emptyLayer: row.empty_layer === true,
    })),
    ...(base !== undefined && { base }),
  };
}

function versionOf(config: ImageConfig): Partial<Platform> {
  return {
    ...(config["os.version"] !== undefined && { "os.version": config["os.version"] }),
    ...(config["os.features"] !== undefined && { "os.features": config["os.features"] }),
  };
}

function folderOrigin({ vertex, paths }: Folder, platform: Platform): Origin {
  return { root: vertex, platform, reads: (path) => paths.add(cleanPath(`/${path}`)) };
}

function followed(paths: ReadonlySet<string>): readonly string[] | undefined {
  // A folder that is there for itself is whole.
  if (paths.size === 0 || paths.has("/")) return undefined;
  return [...paths].map((path) => path.slice(1)).sort();
}

function referenceOf(name: string): string {
  try {
    return formatReference(tagNameOnly(parseNormalized(name)));
  } catch (error) {
    throw invalid(`failed to parse stage name ${quote(name)}: ${messageOf(error)}`);
  }
}

/** One spelling for a context's name, which may be an image's. */
function normalName(name: string): string {
  const [own = "", platform] = name.split("::", 2);
  const suffix = platform === undefined ? "" : `::${platform}`;
  try {
    return familiarString(parseNormalized(own)).replace(/:latest$/, "") + suffix;
  } catch {
    return own.toLowerCase() + suffix;
  }
}
