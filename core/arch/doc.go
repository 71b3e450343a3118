// Package arch holds no code, only the test that keeps the tree in the shape of STYLE: who may import whom, what every
// package must say about itself, how long a function may be, and that each cited section exists. Run it with `go test
// ./core/arch`; it reads source text only, so it works while packages do not compile.
//
// A function above 60 lines needs a comment with `long:` and the reason, in front of it or inside. An import beyond the
// table of STYLE 1 needs a row in deviations, with its reason.
package arch
