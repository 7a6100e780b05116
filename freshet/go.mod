module freshet.dev/freshet

go 1.26
