// Keys asks aws-sdk-go-v2's default credential chain for AWS keys, once and with its default settings, and prints what it got.
//
// It prints one line of JSON: {"got": "ID SECRET TOKEN"}, or {"error": TYPE, "text": MESSAGE}.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
)

func main() {
	log.SetFlags(0)
	line := map[string]string{}
	if keys, err := ask(context.Background()); err != nil {
		line["error"], line["text"] = kind(err), err.Error()
	} else {
		line["got"] = keys
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		log.Fatal(err)
	}
}

func ask(ctx context.Context) (string, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return "", err
	}
	k, err := cfg.Credentials.Retrieve(ctx)
	return fmt.Sprintf("%s %s %s", k.AccessKeyID, k.SecretAccessKey, k.SessionToken), err
}

// kind is the outermost type that a program can ask errors.As for.
func kind(err error) string {
	for e := err; e != nil; e = errors.Unwrap(e) {
		name := fmt.Sprintf("%T", e)
		if _, typ, _ := strings.Cut(name, "."); typ != "" && typ[0] >= 'A' && typ[0] <= 'Z' {
			return name
		}
	}
	return "error"
}
