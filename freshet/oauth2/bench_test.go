package oauth2

import (
	"testing"

	"golang.org/x/oauth2"
)

// BenchmarkHit compares a hit, which copies the token, with one of x/oauth2's own cache, which hands out the one that it holds.
func BenchmarkHit(b *testing.B) {
	for name, src := range map[string]oauth2.TokenSource{
		"freshet": wrap(b, &fake{}), "peer=ReuseTokenSource": oauth2.ReuseTokenSource(nil, &fake{}),
	} {
		mustToken(b, src)
		b.Run(name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = src.Token()
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = src.Token()
				}
			})
		})
	}
}
