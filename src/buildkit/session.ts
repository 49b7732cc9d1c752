import { Content } from "./generated/content.ts";
import { Secrets } from "./generated/secrets.ts";
import { Auth, FileSend } from "./generated/session.ts";
import { SSH } from "./generated/ssh.ts";
import { Upload } from "./generated/upload.ts";

export {
  InfoRequestSchema,
  InfoResponseSchema,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
  type WriteContentRequest,
  WriteContentRequestSchema,
  type WriteContentResponse,
  WriteContentResponseSchema,
} from "./generated/content.ts";
export { GetSecretRequestSchema, GetSecretResponseSchema } from "./generated/secrets.ts";
export {
  BytesMessageSchema,
  CredentialsRequestSchema,
  CredentialsResponseSchema,
  FetchTokenRequestSchema,
  FetchTokenResponseSchema,
  GetTokenAuthorityRequestSchema,
  GetTokenAuthorityResponseSchema,
  VerifyTokenAuthorityRequestSchema,
  VerifyTokenAuthorityResponseSchema,
} from "./generated/session.ts";
export {
  BytesMessageSchema as AgentBytesSchema,
  CheckAgentRequestSchema,
  CheckAgentResponseSchema,
} from "./generated/ssh.ts";
export { BytesMessageSchema as UploadBytesSchema } from "./generated/upload.ts";
/** What a client of a build serves on its session, apart from `FileSync`, for which see packet.ts. */
export {
  Auth as AUTH,
  Content as CONTENT,
  FileSend as FILE_SEND,
  Secrets as SECRETS,
  SSH as SSH_AGENT,
  Upload as UPLOAD,
};

/** Names of calls' metadata on a session. */
export const SESSION_METADATA = {
  dirName: "dir-name",
  include: "include-patterns",
  exclude: "exclude-patterns",
  followPaths: "followpaths",
  /** After a name: its values are escaped as in a query. */
  encoded: "-encoded",
  exporter: "buildkit-attachable-exporter-id",
  exporterHeader: "exporter-md-",
  store: "buildkit-attachable-store-id",
  agent: "buildkit.ssh.id",
  urlPath: "urlpath",
  urlHost: "urlhost",
} as const;

/** The name of a build in the metadata of what its client asks meanwhile. */
export const BUILD_ID = "buildkit-controlapi-buildid";
export { SESSION_HEADERS } from "./session-headers.ts";
