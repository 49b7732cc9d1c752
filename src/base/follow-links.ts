/** As Linux has it. */
export const MOST_LINKS = 40;

/** A path's parts, without those that say nothing. */
export function pathParts(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

/**
 * Where a path leads when its links are followed as if the root were all there is: without links, "." and "..", and
 * without a slash before it. `linkAt` says what the link with this name in a folder is to; undefined where there is no
 * link. Undefined after 40 links.
 */
export function followLinks(
  path: string,
  linkAt: (folder: string, name: string) => string | undefined,
): string | undefined {
  const pending = pathParts(path).reverse();
  const done: string[] = [];
  let links = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (name === "..") {
      done.pop();
      continue;
    }
    const target = linkAt(done.join("/"), name);
    if (target === undefined) {
      done.push(name);
      continue;
    }
    if (++links > MOST_LINKS) return undefined;
    pending.push(...pathParts(target).reverse());
    if (target.startsWith("/")) done.length = 0;
  }
  return done.join("/");
}
