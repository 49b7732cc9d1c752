require "socket"

class Rackish
  def initialize(text)
    instance_eval(text)
  end

  def run(app)
    @app = app
  end

  def serve(port)
    server = TCPServer.new(port)
    loop do
      client = server.accept
      path = client.gets.to_s.split[1]
      nil until client.gets.to_s.strip.empty?
      status, body = @app.call(path)
      client.print("HTTP/1.0 #{status} OK\r\n\r\n#{body}")
      client.close
    end
  end
end
