module freshet.dev/freshet/aws

go 1.26.0

require freshet.dev/freshet v0.0.0

require (
	github.com/aws/aws-sdk-go-v2 v1.47.6
	github.com/aws/smithy-go v1.28.8
)

replace freshet.dev/freshet => ../
