// Package aws puts freshet's cache over any AWS credentials provider: one retrieval for all who wait, refreshed ahead of expiry
// with nobody waiting, served from while the issuer is down.
//
//	cfg, err := config.LoadDefaultConfig(ctx)
//	…
//	cfg.Credentials = freshetaws.Wrap(cfg.Credentials)
//
// # Where it goes
//
// Assign cfg.Credentials after loading, as above. A provider given to config.WithCredentialsProvider works too, but config wraps
// that in an aws.CredentialsCache, which holds credentials until their Expires and then lets every caller wait. Under such a
// cache a [Provider] still refreshes ahead, because the Expires it reports is not when the credentials end but when they are to
// be replaced: the cache comes back then, and finds the next ones ready or being fetched. It is never in the past and never
// after the true end. Such a cache does hold credentials up to that time whatever a service says of them: see
// [Provider.Reject].
//
// What LoadDefaultConfig returns is itself an aws.CredentialsCache, and gives the same credentials until they have expired. A
// Provider therefore calls the Invalidate method of what it wraps when that gives again what is to be replaced. The wrapped cache
// is the Provider's from then on: who uses it beside the Provider loses what it holds each time.
//
// # Refused credentials
//
// [Provider.ReplaceRefused] has clients notice that a service refuses what they sign with, and go on with other credentials. The
// SDK has no such thing: nothing in it calls the Invalidate of its own cache. A Provider has an Invalidate too, for programs that
// do, next to [Provider.Reject] and [Provider.Replace], which say what was refused.
//
// # Issuers in trouble
//
// What an issuer says of itself is obeyed for every caller: its Retry-After, and a pause where it throttles without one; see
// [Config].Target. The SDK's own retries would keep everybody waiting and ask a throttled issuer again. A configuration hands its
// Retryer to the providers that it loads, so they can be turned off for these alone:
//
//	cfg, err := config.LoadDefaultConfig(ctx, config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
//	…
//	cfg.Retryer = nil // clients made from here on retry as usual
//
// Where a program makes the provider's client itself, that client's options take aws.NopRetryer too.
//
// A caller whose context has a deadline that is later than the next attempt waits for that, if there are no keys to answer with;
// one without is told at once. An aws.CredentialsCache does not pass deadlines on.
//
// # Instances of EC2
//
// While an instance's metadata service is down, the SDK goes on with the keys that it has, past the end that it gave them, which
// is at most an hour ahead and often before the true one. A Provider leaves that to it. It does not call Invalidate on a cache
// over ec2rolecreds, which therefore gives the same keys, also to who rejects them, until its own time to replace them; and it has
// an ec2rolecreds.Provider that it wraps itself extend them when they are about to end and no others are to be had.
//
// # Life
//
// A Provider needs no closing: it runs goroutines only while it retrieves, and each retrieval has a time limit.
package aws
