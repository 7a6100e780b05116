package freshet

import "context"

// Around runs in place of an identity's retrieval, and calls retrieve to make it, at most once, or obtains the credential from
// somebody who is making it at the same time: another process, say. key is the request's key, which holds what was asked for
// and no secret. It is called within the flight's time; shared tells that the credential came from elsewhere.
type Around func(ctx context.Context, key string, retrieve func(context.Context) (*Credential, error)) (cred *Credential, shared bool, err error)

// obtain is retrieve, with what the identity's configuration put around it.
func (c *Cache) obtain(ctx context.Context, id *Identity, req Request, e *Event, p *permit) (*Credential, error) {
	if id.around == nil {
		return c.retrieve(ctx, id, req, e, p)
	}
	type got struct {
		cred   *Credential
		shared bool
	}
	g, err := call(func() (g got, err error) {
		g.cred, g.shared, err = id.around(ctx, string(e.Key), func(ctx context.Context) (*Credential, error) { return c.retrieve(ctx, id, req, e, p) })
		return g, err
	})
	if err == nil {
		err = usable(g.cred, &req)
	}
	e.Shared = g.shared
	if err != nil {
		return nil, err
	}
	return g.cred, nil
}
