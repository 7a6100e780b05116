package oauth2_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

	freshetoauth2 "freshet.dev/freshet/oauth2"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// Fifty requests at once make one call of the token endpoint.
func Example() {
	calls := 0
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"token","token_type":"Bearer","expires_in":3600}`)
	}))
	defer issuer.Close()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer api.Close()

	conf := clientcredentials.Config{
		ClientID: "client", ClientSecret: "secret", TokenURL: issuer.URL, AuthStyle: oauth2.AuthStyleInHeader,
	}
	src := freshetoauth2.Wrap(conf.TokenSource(context.Background()))
	client := &http.Client{Transport: src.Transport(nil)}

	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			resp, err := client.Get(api.URL)
			if err != nil {
				fmt.Println(err)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				fmt.Println(resp.Status)
			}
		})
	}
	wg.Wait()
	fmt.Println(calls, "call")
	// Output: 1 call
}
