import { formatReference, type Reference, repositoryOf } from "../oci/reference.ts";

/**
 * The scopes that a name lies in, the narrowest first: the whole name, its repository, the namespaces above it, the
 * host, and for `a.b.example` the wildcards `*.b.example` and `*.example` (containers-policy.json(5)).
 */
export function scopesOf(reference: Reference): string[] {
  const { domain, path, tag, digest } = reference;
  const whole = formatReference({
    domain,
    path,
    // A name of both is looked for by what it fetches, its digest.
    ...(digest === undefined ? tag !== undefined && { tag } : { digest }),
  });
  const scopes = whole === repositoryOf(reference) ? [] : [whole];
  let name = repositoryOf(reference);
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
