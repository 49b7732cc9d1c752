// One program with many names: it does what it is called by.
package main

import (
	"os"
	"path/filepath"
	"strings"
)

func main() {
	line := strings.Join(os.Args[1:], " ")
	switch filepath.Base(os.Args[0]) {
	case "upper":
		line = strings.ToUpper(line)
	case "lower":
		line = strings.ToLower(line)
	}
	os.Stdout.WriteString(line + "\n")
}
