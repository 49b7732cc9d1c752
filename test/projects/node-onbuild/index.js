const http = require("node:http");
const { WebSocketServer } = require("ws");

const server = http.createServer((_, response) => response.end(`hello from ${process.env.NODE_ENV}\n`));
new WebSocketServer({ server }).on("connection", (socket) => socket.send("hello"));
server.listen(8080);
