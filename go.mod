module freshet.dev

go 1.26

require freshet.dev/freshet v0.0.0

require github.com/goccy/go-yaml v1.19.2 // indirect

replace freshet.dev/freshet => ./freshet
