// Package oauth2 puts freshet's cache over any token source of golang.org/x/oauth2: one retrieval for all who wait, refreshed
// ahead of expiry with nobody waiting, served from while the issuer is down.
//
//	src := freshetoauth2.Wrap(conf.TokenSource(ctx))
//	client := &http.Client{Transport: src.Transport(nil)}
//
// # Where it goes
//
// [Source.Transport] is the way for HTTP clients: a request waits for a token as long as its own context allows, and a token
// that the server calls invalid is replaced, and the request made once more. oauth2.NewClient works too. It puts an oauth2.ReuseTokenSource above, which holds a
// token until 10 s before its Expiry and then locks every caller out while it asks for the next one, so the Expiry that a
// [Source] reports is 10 s after the token is to be replaced, if that is before its true end: the ReuseTokenSource comes back
// when the replacement is due, and is answered from memory.
//
// What the Config types of x/oauth2 return is itself a ReuseTokenSource, with nothing new to give before its token ends. A Source
// takes the token it holds for a start, and from then on asks the source beneath. That source belongs to the Source from then on:
// whoever goes on using both redeems one refresh token twice.
//
// # Tokens
//
// Callers get copies, since they may change a *Token. A copy has the type and the extras of the original, and no RefreshToken: a
// rotating one has a single user, which is the wrapped source, and an oauth2.Config that was given the copy would be a second
// one. To save refresh tokens, wrap a source that does so. (Token.Extra reads the issuer's whole answer, the refresh token
// included: what this prevents is a mistake.)
//
// A token without an Expiry lives as long as its ExpiresIn, its exp if it is a JWT, or the configured Lifetime; without any of
// these it does not expire.
//
// # Failures
//
// A failure is remembered, for as long as the token endpoint says or a few seconds: a ReuseTokenSource lets its callers in one by
// one, and a hundred who waited behind a failure would repeat it one after the other. A caller whose context has a deadline that is
// later than the next attempt waits for that, if there is no token to answer with; one without, as every caller of
// [Source.Token] is, gets the error at once.
//
// What the token endpoint says of itself is obeyed for every caller: its Retry-After, and a pause where it answers 429 without one.
// x/oauth2 repeats no request, but as long as no token has come it asks each time in both ways that a client can authenticate, if
// AuthStyle is left open: set it, so that an endpoint in trouble is asked once.
//
// # Life
//
// A Source needs no closing: it runs goroutines only while it retrieves, and each retrieval has a time limit.
package oauth2
