package aws

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// BenchmarkHit compares a hit with one of the SDK's own cache.
func BenchmarkHit(b *testing.B) {
	for name, p := range map[string]aws.CredentialsProvider{
		"freshet": wrap(b, &fake{}), "peer=CredentialsCache": aws.NewCredentialsCache(&fake{}),
	} {
		mustRetrieve(b, p)
		b.Run(name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			for b.Loop() {
				_, _ = p.Retrieve(ctx)
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = p.Retrieve(ctx)
				}
			})
		})
	}
}
