import { Content } from "./generated/content_pb.ts";
import { Secrets } from "./generated/secrets_pb.ts";
import { Auth, FileSend } from "./generated/session_pb.ts";
import { SSH } from "./generated/ssh_pb.ts";
import { Upload } from "./generated/upload_pb.ts";
import { methodsOf } from "./methods.ts";

/** What a client of a build serves on its session, apart from `FileSync`, for which see packet.ts. */
export const AUTH = methodsOf(Auth);
export const FILE_SEND = methodsOf(FileSend);
export const SECRETS = methodsOf(Secrets);
export const SSH_AGENT = methodsOf(SSH);
export const UPLOAD = methodsOf(Upload);
export const CONTENT = methodsOf(Content);

export {
  InfoRequestSchema,
  InfoResponseSchema,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
  type WriteContentRequest,
  WriteContentRequestSchema,
  type WriteContentResponse,
  WriteContentResponseSchema,
} from "./generated/content_pb.ts";
export { GetSecretRequestSchema, GetSecretResponseSchema } from "./generated/secrets_pb.ts";
export {
  BytesMessageSchema,
  CredentialsRequestSchema,
  CredentialsResponseSchema,
} from "./generated/session_pb.ts";
export {
  BytesMessageSchema as AgentBytesSchema,
  CheckAgentRequestSchema,
  CheckAgentResponseSchema,
} from "./generated/ssh_pb.ts";
export { BytesMessageSchema as UploadBytesSchema } from "./generated/upload_pb.ts";

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
