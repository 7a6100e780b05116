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
