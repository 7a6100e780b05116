// Hello prints a line: what starting any Go program costs.
package main

import "os"

func main() { _, _ = os.Stdout.WriteString("hello\n") }
