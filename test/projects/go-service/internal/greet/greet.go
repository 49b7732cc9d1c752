// Package greet makes greetings.
package greet

import "own.example/words"

// Line greets in the name of somebody.
func Line(who string) string { return words.Hello + " " + who + "\n" }
