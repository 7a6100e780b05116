module freshet.dev/freshet/oauth2

go 1.26.0

require freshet.dev/freshet v0.0.0

require golang.org/x/oauth2 v0.37.0

replace freshet.dev/freshet => ../
