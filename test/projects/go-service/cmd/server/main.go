package main

import (
	"flag"
	"io"
	"net"
	"net/textproto"
	"bufio"

	"own.example/service/internal/greet"
)

var version = "unset"

func main() {
	listen := flag.String("listen", ":80", "where to listen")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		panic(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go answer(connection)
	}
}

func answer(connection net.Conn) {
	defer connection.Close()
	reader := textproto.NewReader(bufio.NewReader(connection))
	if _, err := reader.ReadLine(); err != nil {
		return
	}
	if _, err := reader.ReadMIMEHeader(); err != nil {
		return
	}
	io.WriteString(connection, "HTTP/1.0 200 OK\r\n\r\n"+greet.Line("go "+version))
}
