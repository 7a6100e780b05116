// Package freshet retrieves short-lived credentials once and shares them with every caller.
//
// A [Source] is anything that yields a credential. A [Cache] holds the credentials of any number of identities, each a named
// source with its settings; the [Identity] it returns is itself a Source, so what is cached composes like what is not:
//
//	cache := freshet.NewCache(freshet.CacheConfig{})
//	defer cache.Close(context.Background())
//	id, err := cache.Add(freshet.IdentityConfig{Name: "internal", Source: src})
//	…
//	answer, err := id.Get(ctx, freshet.Request{Scopes: []string{"orders.read"}})
//
// What a caller may rely on:
//
//   - One retrieval is in flight per key. It is detached from its callers: it has its own deadline and none of their context
//     values, it survives the cancel of every one of them, and its result is cached even if all of them left.
//   - A hit takes no lock, allocation, system call or disk.
//   - A credential that somebody asks for, or that is pinned, is replaced ahead of its expiry, in the background; while that
//     fails the one still valid is served, marked stale. Nothing is served at or past its expiry less a small floor, by either
//     clock.
//   - An issuer that throttles or fails is left alone for as long as it says, or until a probe finds it well; see
//     [Cache.Issuers]. A caller with a deadline that reaches past the next attempt is held for it.
//   - A reader sees one version of a credential, whole.
//   - Credentials and requests print redacted.
package freshet
