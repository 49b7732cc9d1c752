const http = require("node:http");
const router = require("./routes.js");

const server = http.createServer((request, response) => router.lookup(request, response));
server.listen(process.env.PORT);
process.on("SIGTERM", () => process.exit(0));
