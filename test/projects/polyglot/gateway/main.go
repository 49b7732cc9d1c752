package main

import "os"

func main() {
	bytes, err := os.ReadFile("/contracts/greeting.json")
	if err != nil {
		os.Exit(1)
	}
	os.Stdout.WriteString("gateway: ")
	os.Stdout.Write(bytes)
}
