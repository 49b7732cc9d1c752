package greet

import "own.example/words"

func Text() string { return words.Hello }
