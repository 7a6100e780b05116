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
// Provider therefore calls the Invalidate method of what it wraps when that gives again what is to be replaced.
//
// # Life
//
// A Provider needs no closing: it runs goroutines only while it retrieves, and each retrieval has a time limit.
package aws
