// Golang reads one S3 object in a loop, with aws-sdk-go-v2's default credential chain and a single attempt a call.
//
//	golang ENDPOINT BUCKET KEY SECONDS PAUSE
//
// It prints a line "failure: …" on stderr for each call that fails, and a summary as JSON when the time is over or on
// SIGTERM.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"freshet.dev/interop/internal/loop"
)

func main() {
	log.SetFlags(0)
	work, err := loop.Parse(os.Args[1:])
	if err != nil {
		log.Fatalf("usage: golang ENDPOINT BUCKET KEY SECONDS PAUSE: %v", err)
	}
	// One attempt for the credentials as well: the SDK hands its retryer on to the container provider, where it would
	// hide an endpoint that fails now and then.
	cfg, err := config.LoadDefaultConfig(context.Background(),
		config.WithRegion("us-east-1"), config.WithRetryMaxAttempts(1))
	if err != nil {
		log.Fatal(err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.BaseEndpoint = &work.Endpoint
		o.UsePathStyle = true
	})

	// The signal ends the loop, not the call: a call it cut short would count as a failure.
	running, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	summary := loop.Run(running, "go", work.For, work.Pause, func() error {
		return read(client, work.Bucket, work.Key)
	})
	if err := summary.Print(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func read(client *s3.Client, bucket, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	object, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	defer object.Body.Close()
	n, err := io.Copy(io.Discard, object.Body)
	if err != nil {
		return err
	}
	if want := aws.ToInt64(object.ContentLength); n != want {
		return fmt.Errorf("read %d bytes of %d", n, want)
	}
	return nil
}
