const http = require("node:http");
const { greeting } = require("/contracts/greeting.json");

http.createServer((_, response) => response.end(`${greeting}\n`)).listen(8080);
