package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// sdkMain is a program that freshet exec runs in these tests:
//
//	sdk aws            prints what its container credential variables lead to
//	sdk oauth [SCOPE]  prints the token that its FRESHET_ variables lead to
//	sdk send URL [HEADER VALUE]  prints the status and the body of the answer
//	sdk signed PATH    the same of a request that it signs with the keys, and to the endpoint, of its AWS_ variables
//	sdk signals FILE   appends the name of each signal it gets, until SIGUSR2
func sdkMain() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "aws":
		err = sdkAWS()
	case len(os.Args) >= 2 && os.Args[1] == "oauth":
		err = sdkOAuth(strings.Join(os.Args[2:], " "))
	case len(os.Args) == 3 && os.Args[1] == "signals":
		err = sdkSignals(os.Args[2])
	case len(os.Args) >= 3 && os.Args[1] == "send":
		err = sdkSend(os.Args[2], os.Args[3:]...)
	case len(os.Args) == 3 && os.Args[1] == "signed":
		err = sdkSigned(os.Args[2])
	default:
		err = fmt.Errorf("usage: sdk aws | sdk oauth [SCOPE] | sdk signals FILE | sdk send URL [HEADER VALUE] | sdk signed PATH")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sdk:", err)
		os.Exit(9)
	}
}

var sdkClient = &http.Client{Timeout: 30 * time.Second}

// sdkSend prints what a URL answers to a request with a header.
func sdkSend(url string, header ...string) error {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err
	}
	if len(header) == 2 {
		req.Header.Set(header[0], header[1])
	}
	resp, err := sdkClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	fmt.Print(resp.StatusCode, " ", string(b))
	return err
}

// sdkSigned is a client of AWS that has keys and an endpoint by its environment.
func sdkSigned(path string) error {
	endpoint, service := os.Getenv("AWS_ENDPOINT_URL_S3"), "s3"
	if endpoint == "" {
		endpoint, service = os.Getenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME"), "bedrock"
	}
	req, err := http.NewRequest("GET", endpoint+path, nil)
	if err != nil {
		return err
	}
	const none = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	req.Header.Set("X-Amz-Content-Sha256", none)
	keys := aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: os.Getenv("AWS_SESSION_TOKEN")}
	if err := v4.NewSigner().SignHTTP(context.Background(), keys, req, none, service, os.Getenv("AWS_REGION"), time.Now()); err != nil {
		return err
	}
	resp, err := sdkClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	fmt.Print(resp.StatusCode, " ", string(b))
	return err
}

func sdkAWS() error {
	req, err := http.NewRequest("GET", os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN"))
	var doc struct{ AccessKeyID, SecretAccessKey, Token string }
	if err := sdkAnswer(req, &doc); err != nil {
		return err
	}
	fmt.Println(doc.AccessKeyID, doc.SecretAccessKey, doc.Token)
	return nil
}

func sdkOAuth(scope string) error {
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	req, err := http.NewRequest("POST", os.Getenv("FRESHET_TOKEN_URL"), strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(os.Getenv("FRESHET_CLIENT_ID"), os.Getenv("FRESHET_CLIENT_SECRET"))
	var doc struct {
		AccessToken string `json:"access_token"`
	}
	if err := sdkAnswer(req, &doc); err != nil {
		return err
	}
	fmt.Println(doc.AccessToken)
	return nil
}

func sdkAnswer(req *http.Request, doc any) error {
	resp, err := sdkClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%d: %s", resp.StatusCode, b)
	}
	return json.Unmarshal(b, doc)
}

func sdkSignals(path string) error {
	c := make(chan os.Signal, 64)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGQUIT)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintln(f, "ready", os.Getpid())
	for s := range c {
		if s == syscall.SIGUSR2 {
			return nil
		}
		fmt.Fprintln(f, s)
	}
	return nil
}
