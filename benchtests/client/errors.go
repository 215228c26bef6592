package client

import (
	"context"
	"errors"
	"fmt"

	"servebench/results"
)

// transport classifies what went wrong around the body; "" is nothing.
func (x *Exchange) transport() (class, detail string) {
	switch {
	case x.Err == nil:
		return x.status()
	case errors.Is(x.Err, context.Canceled):
		return results.ClassCanceled, x.Err.Error()
	case errors.Is(x.Err, ErrTimeout) || errors.Is(x.Err, context.DeadlineExceeded):
		return results.ClassTimeout, fmt.Sprintf("%v, %d bytes of the body had arrived", x.Err, len(x.Body))
	case x.Status == 0:
		return results.ClassConnect, x.Err.Error()
	case x.Status/100 != 2:
		return x.status()
	default:
		return results.ClassStreamBroken, fmt.Sprintf("%v after %d bytes of the body", x.Err, len(x.Body))
	}
}

// status classifies a complete answer by its status.
func (x *Exchange) status() (class, detail string) {
	switch x.Status / 100 {
	case 2:
		return "", ""
	case 4:
		class = results.ClassHTTP4xx
	case 5:
		class = results.ClassHTTP5xx
	default:
		class = results.ClassHTTPOther
	}
	p, _ := parsePayload(x.Body)
	return class, fmt.Sprintf("status %d: %s", x.Status, failure(p, x.Body))
}
