/** The version that the engine tells its clients. */
export { VERSION as ENGINE_VERSION } from "../base/version.ts";
