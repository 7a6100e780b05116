package azure

import (
	"fmt"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// BenchmarkHit is a hit of a request that comes often, and of one among a thousand that come alike.
func BenchmarkHit(b *testing.B) {
	often := func(int) policy.TokenRequestOptions { return graph }
	seldom := make([]policy.TokenRequestOptions, 1000)
	for i := range seldom {
		seldom[i] = graph
		seldom[i].TenantID = fmt.Sprint("tenant-", i)
	}
	for name, of := range map[string]func(int) policy.TokenRequestOptions{
		"often": often, "among=1000": func(i int) policy.TokenRequestOptions { return seldom[i%len(seldom)] },
	} {
		c := wrap(b, &fake{})
		for i := range seldom {
			mustGet(b, c, of(i))
		}
		b.Run(name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			for i := 0; b.Loop(); i++ {
				_, _ = c.GetToken(ctx, of(i))
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					_, _ = c.GetToken(ctx, of(i))
				}
			})
		})
	}
}
