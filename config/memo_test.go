package config

import (
	"reflect"
	"sync"
	"testing"
)

// What is read of a struct's tags is read once, and is everybody's: nobody may put it into another order.
func TestParsingChangesNoKeys(t *testing.T) {
	before := Keys(kinds())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := Parse("f.yaml", []byte("version: 1\nidentities:\n  a: {source: oauth2}\n"), kinds()); err == nil {
				t.Error("an identity without its keys is no error")
			}
			if _, err := Parse("f.yaml", []byte(whole), kinds()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if after := Keys(kinds()); !reflect.DeepEqual(after, before) {
		t.Errorf("the keys are in another order after parsing: %v, want %v", after, before)
	}
}
