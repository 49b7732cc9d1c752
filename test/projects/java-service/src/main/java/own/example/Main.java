package own.example;

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.ResourceBundle;

public final class Main {
    public static void main(String[] args) throws Exception {
        String hello = ResourceBundle.getBundle("messages").getString("hello");
        byte[] line = (hello + " " + System.getProperty("who").replace("\"", "") + "\n").getBytes("UTF-8");
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
        server.createContext("/", exchange -> {
            exchange.sendResponseHeaders(200, line.length);
            try (var body = exchange.getResponseBody()) {
                body.write(line);
            }
        });
        server.start();
    }
}
