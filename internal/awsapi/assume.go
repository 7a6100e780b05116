package awsapi

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"freshet.dev/freshet"
)

// AssumeRole makes one request, signed with the keys that are its input.
func AssumeRole(ctx context.Context, client *sts.Client, input *freshet.Credential, in *sts.AssumeRoleInput) (*freshet.Credential, error) {
	sent := freshet.Now()
	out, err := client.AssumeRole(ctx, in, signed(input.AWS()))
	if err != nil {
		e := Failure(ctx, "sts", assumeRoleHints(), err)
		if Expired(err) && input.Static() {
			// A session's keys that somebody put in a file: nothing here can renew them, and trying later would not help.
			e.Kind, e.Hint = freshet.LoginNeeded, "the keys it is made from are a session's, which is over: put new ones in their place"
		}
		return nil, e
	}
	return Keys(out.Credentials, out.AssumedRoleUser, sent, out.ResultMetadata)
}
