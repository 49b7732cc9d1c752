import { decodeJson } from "../../api/decode.ts";
import { booleanFilter, checkFilters, type Filters } from "../../api/filters.ts";
import { type AuthResponse, authConfig, type DistributionInspect, type SearchResult } from "../../api/registry.ts";
import { GantryError } from "../../base/errors.ts";
import { ANONYMOUS, type Credentials, decodeCredentials } from "../../remote/credentials.ts";
import { inspectDistribution } from "../../remote/distribution.ts";
import type { Registries } from "../../remote/registry.ts";
import { searchImages } from "../../remote/search.ts";
import { json } from "../answer.ts";
import type { Handlers } from "../route-request.ts";

type RegistryRoutes = Pick<Handlers, "auth" | "distributionInspect" | "registrySearch">;

export function registryRoutes(registries: Registries): RegistryRoutes {
  return {
    auth: async (request) => {
      const given = decodeJson(authConfig, await request.document());
      const { status, identityToken } = await registries.login(
        given.serveraddress,
        {
          username: given.username,
          password: given.password,
          identityToken: given.identitytoken,
          registryToken: given.registrytoken,
        },
        { signal: request.signal },
      );
      return json({ IdentityToken: identityToken, Status: status } satisfies AuthResponse);
    },
    registrySearch: async ({ query, header, signal }) => {
      const passes = searchFilter(query.filters);
      const credentials = credentialsOrNobody(header("x-registry-auth"));
      const wish = { term: query.term ?? "", limit: query.limit };
      const rows = (await searchImages(registries, wish, credentials, { signal })).map((row) => ({
        star_count: row.stars,
        is_official: row.isOfficial,
        name: row.name,
        is_automated: false,
        description: row.description,
      }));
      return json(rows.filter(passes) satisfies SearchResult[]);
    },
    distributionInspect: async ({ params, query, header, signal }) => {
      const credentials = credentialsOrNobody(header("x-registry-auth"));
      const found = await inspectDistribution(registries, params.name ?? "", credentials, { signal }, query);
      return json(found satisfies { readonly Descriptor: DistributionInspect["Descriptor"] });
    },
  };
}

/** What of a search's results a client wants to see. Throws Docker's words for filters that are none. */
function searchFilter(filters: Filters): (row: SearchResult) => boolean {
  checkFilters(filters, ["is-automated", "is-official", "stars"]);
  const isAutomated = booleanFilter(filters, "is-automated");
  const isOfficial = booleanFilter(filters, "is-official");
  const stars = (filters.stars ?? []).map((text) => {
    if (!/^[+-]?\d{1,9}$/.test(text)) {
      const [shown, why] = [text.slice(0, 100), "invalid syntax"];
      throw new GantryError("invalid", `invalid filter 'stars=${shown}': strconv.Atoi: parsing "${shown}": ${why}`);
    }
    return Number(text);
  });
  const least = Math.max(0, ...stars);
  return (row) =>
    (isAutomated ?? false) === row.is_automated &&
    (isOfficial === undefined || isOfficial === row.is_official) &&
    row.star_count >= least;
}

/** Docker takes a header that it can't read for none. */
export function credentialsOrNobody(value: string | undefined): Credentials {
  try {
    return decodeCredentials(value);
  } catch {
    return ANONYMOUS;
  }
}
