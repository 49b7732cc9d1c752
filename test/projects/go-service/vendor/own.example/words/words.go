// Package words has the words of the service.
package words

// Hello is what it says first.
const Hello = "hello from"
