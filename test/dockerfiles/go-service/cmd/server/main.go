package main

import (
	"fmt"
	"net/http"

	"own.example/greeter/internal/greet"
)

var version = "dev"

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, greet.Text(), version) })
	_ = http.ListenAndServe(":8080", nil)
}
