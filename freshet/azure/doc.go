// Package azure puts freshet's cache over any azcore.TokenCredential: one retrieval for all who wait, refreshed ahead of expiry
// with nobody waiting, served from while the issuer is down.
//
//	cred, err := azidentity.NewDefaultAzureCredential(nil)
//	…
//	client, err := azblob.NewClient(url, freshetazure.Wrap(cred), nil)
//
// Tokens are told apart by tenant, scopes, claims, and whether the caller handles continuous access evaluation (CAE). Requests
// for different tokens do not delay each other, unless the wrapped credential makes them: azidentity's client credentials, for
// one, retrieve one token at a time. Wrap a chain rather than its links: azidentity treats a ManagedIdentityCredential in a chain
// in a way of its own.
//
// # Refresh
//
// The RefreshOn of a wrapped credential's token says when it is replaced, and not a moment earlier, since credentials answer from
// caches of their own until then; where there is none, freshet's schedule does. The RefreshOn that a [Credential] reports is just
// after that time. azcore's BearerTokenPolicy, which keeps the token of its one resource and asks again at RefreshOn, then finds
// the next token ready or being fetched, and waits for nothing.
//
// # Claims challenges
//
// A service that wants another token than it was sent (because of CAE or an authentication context) says so by a claims
// challenge, and BearerTokenPolicy repeats the request with those claims. Such a call goes past the token in memory to the
// wrapped credential, once for all who bring the same challenge, and from then on its result answers those who ask without
// claims: the service would refuse them the older token. That token is replaced ahead of expiry with the same claims; where the
// issuer refuses that and it ends, calls without claims are asked for without them again.
//
// # Failures
//
// Errors wrap the wrapped credential's own, for errors.As: azidentity's AuthenticationFailedError is found, azcore's retry policy
// sees that it is not to be retried, and ChainedTokenCredential knows a credential that is unavailable. Their text, which quotes
// the issuer's answer, is not shown. What a login would mend is of kind [freshet.LoginNeeded] and names the command, where the
// credential does.
//
// A failure is remembered, for as long as the issuer says or a few seconds: BearerTokenPolicy lets its callers in one by one, and
// a hundred who waited behind a failure would repeat it one after the other. A caller whose context has a deadline that is later
// than the next attempt waits for that, if no token in memory can answer; one whose context has none is told at once.
// BearerTokenPolicy passes on the context of the request that it lets in, and has the others wait as long, whatever theirs say.
//
// # Issuers in trouble
//
// What an issuer says of itself is obeyed for every caller: its Retry-After, and a pause where it answers 429 without one; see
// [Config].Target. azidentity's own retries would keep everybody waiting and ask a throttled issuer again: turn them off where the
// credential is made.
//
//	opts.ClientOptions.Retry.MaxRetries = -1 // of azidentity.ClientSecretCredentialOptions, and so on
//
// # Life
//
// A Credential needs no closing: it runs goroutines only while it retrieves, and each retrieval has a time limit.
package azure
