/** `pb`: what a low-level definition is made of. */
export {
  type ChownOpt,
  type Definition,
  DefinitionSchema,
  type ExecOp,
  type FileAction,
  type FileOp,
  type HostIP,
  type Meta,
  type Mount,
  type Op,
  OpSchema,
  type Platform,
  type SecretEnv,
  type SourceOp,
  SourceOpSchema,
  type UserOpt,
} from "./generated/ops.ts";
