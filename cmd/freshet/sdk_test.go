package main

import (
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
)

// sdkMain is a program that freshet exec runs in these tests:
//
//	sdk aws            prints what its container credential variables lead to
//	sdk oauth [SCOPE]  prints the token that its FRESHET_ variables lead to
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
	default:
		err = fmt.Errorf("usage: sdk aws | sdk oauth [SCOPE] | sdk signals FILE")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sdk:", err)
		os.Exit(9)
	}
}

var sdkClient = &http.Client{Timeout: 30 * time.Second}

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
