import { decodeJson } from "../../api/decode.ts";
import { type AuthResponse, authConfig, type DistributionInspect } from "../../api/registry.ts";
import { ANONYMOUS, type Credentials, decodeCredentials } from "../../remote/credentials.ts";
import { inspectDistribution } from "../../remote/distribution.ts";
import type { Registries } from "../../remote/registry.ts";
import { json } from "../answer.ts";
import type { Handlers } from "../route-request.ts";

type RegistryRoutes = Pick<Handlers, "auth" | "distributionInspect">;

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
      return json({ Status: status, IdentityToken: identityToken } satisfies AuthResponse);
    },
    distributionInspect: async ({ params, header, signal }) => {
      const credentials = credentialsOrNobody(header("x-registry-auth"));
      const found = await inspectDistribution(registries, params.name ?? "", credentials, { signal });
      return json(found satisfies { readonly Descriptor: DistributionInspect["Descriptor"] });
    },
  };
}

/** Docker takes a header that it can't read for none. */
export function credentialsOrNobody(value: string | undefined): Credentials {
  try {
    return decodeCredentials(value);
  } catch {
    return ANONYMOUS;
  }
}
