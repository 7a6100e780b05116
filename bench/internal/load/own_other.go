//go:build !linux

package load

import (
	"context"
	"errors"
)

const ownClient = false

func runOwn(context.Context, Target, Shape) (Result, error) { return Result{}, errors.ErrUnsupported }
