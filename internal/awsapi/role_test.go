package awsapi

import "testing"

func TestAccount(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:sts::123456789012:assumed-role/x/y":    "123456789012",
		"arn:aws-cn:sts::123456789012:assumed-role/x:y": "123456789012",
		"arn:minio:sts:::assumed-role/x/y":              "",
		"arn:aws:sts::12345:assumed-role/x/y":           "",
		"":                                              "",
		"a:b:c:d:123456789012:f":                        "",
		"arn:aws:sts::123456789012":                     "",
	} {
		if got := Account(arn); got != want {
			t.Errorf("%q: got %q, want %q", arn, got, want)
		}
	}
}
