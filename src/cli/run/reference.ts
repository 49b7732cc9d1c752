/**
 * An image's name as people write it, `latest` filled in: `busybox:latest`, `ghcr.io/a/b:1`, `x@sha256:…`. Undefined for
 * an image id. Throws Docker's texts for what is no name.
 */
export function familiarReference(text: string): string | undefined {
  if (/^(sha256:)?[0-9a-f]{64}$/.test(text)) return undefined;
  const [nameAndTag = "", digest] = text.split("@");
  const slash = nameAndTag.lastIndexOf("/");
  const colon = nameAndTag.indexOf(":", slash + 1);
  const name = colon === -1 ? nameAndTag : nameAndTag.slice(0, colon);
  const tag = colon === -1 ? undefined : nameAndTag.slice(colon + 1);
  const cut = name.indexOf("/");
  const first = cut === -1 ? "" : name.slice(0, cut);
  const isDomain = cut !== -1 && (/[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first);
  const path = isDomain ? name.slice(cut + 1) : name;
  if (path.toLowerCase() !== path) {
    const shown = isDomain ? path : path.includes("/") ? path : `library/${path}`;
    throw new Error(`invalid reference format: repository name (${shown}) must be lowercase`);
  }
  const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
  const valid =
    new RegExp(`^${component}(?:/${component})*$`).test(path) &&
    (!isDomain ||
      /^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::\d+)?$/.test(
        first,
      )) &&
    (tag === undefined || /^\w[\w.-]{0,127}$/.test(tag)) &&
    (digest === undefined || /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/.test(digest));
  if (!valid) throw new Error("invalid reference format");
  const short = name.replace(/^docker\.io\/(library\/)?/, "");
  const rest = `${tag === undefined ? "" : `:${tag}`}${digest === undefined ? "" : `@${digest}`}`;
  return rest === "" ? `${short}:latest` : `${short}${rest}`;
}

/** Splits a name at its tag: what the API's `fromImage` and `tag` want. */
export function splitTag(reference: string): { readonly name: string; readonly tag: string } {
  const at = reference.indexOf("@");
  if (at !== -1) return { name: reference.slice(0, at).replace(/:[^/:]*$/, ""), tag: reference.slice(at + 1) };
  const colon = reference.indexOf(":", reference.lastIndexOf("/") + 1);
  return colon === -1
    ? { name: reference, tag: "" }
    : { name: reference.slice(0, colon), tag: reference.slice(colon + 1) };
}
