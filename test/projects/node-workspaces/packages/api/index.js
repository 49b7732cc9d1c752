const http = require("node:http");
const { greeting } = require("@repo/shared");

http.createServer((_, response) => response.end(`${greeting("api")}\n`)).listen(8080);
