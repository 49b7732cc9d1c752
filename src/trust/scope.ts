import { formatReference, parseNormalized, type Reference, repositoryOf } from "../oci/reference.ts";

/**
 * The scopes that a name lies in, the narrowest first: the whole name, its repository, the namespaces above it, the
 * host, and for `a.b.example` the wildcards `*.b.example` and `*.example` (containers-policy.json(5)).
 */
export function scopesOf(reference: Reference): string[] {
  const { path, tag, digest } = reference;
  // Hosts are the same in whatever case: a policy is not to be passed by in capitals.
  const domain = reference.domain.toLowerCase();
  const whole = formatReference({
    domain,
    path,
    // A name of both is looked for by what it fetches, its digest.
    ...(digest === undefined ? tag !== undefined && { tag } : { digest }),
  });
  let name = repositoryOf({ domain, path });
  const scopes = whole === name ? [] : [whole];
  for (;;) {
    scopes.push(name);
    const slash = name.lastIndexOf("/");
    if (slash < 0) break;
    name = name.slice(0, slash);
  }
  let host = /^\[/.test(domain) ? "" : (domain.split(":")[0] ?? "");
  for (let dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".")) {
    host = host.slice(dot + 1);
    scopes.push(`*.${host}`);
  }
  return scopes;
}

/** A scope as it is compared: its host in lower case. */
export function normalScope(scope: string): string {
  return scope.replace(/^[^/]*(?=\/)|^[^/@]*$/, (host) => host.toLowerCase());
}

/** Whether any name lies in a scope: `busybox` and `index.docker.io` are none that names in their whole form have. */
export function isScopeOfNames(scope: string): boolean {
  if (scope === "") return true;
  const inside = scope.startsWith("*.") ? `host${scope.slice(1)}/x` : `${scope}/x`;
  return [scope, inside].some((text) => {
    try {
      return scopesOf(parseNormalized(text)).includes(scope);
    } catch {
      return false;
    }
  });
}
